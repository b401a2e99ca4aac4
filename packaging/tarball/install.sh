#!/bin/sh
# Installs what is beside this file, or removes it: ./install.sh [--remove]. Files go below $DESTDIR, for packagers.
set -eu
cd "$(dirname "$0")"
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
units=$root/etc/systemd/system

systemd() {
    [ -n "$root" ] || ! [ -d /run/systemd/system ] || systemctl "$@"
}

if [ "${1:-}" = --remove ]; then
    systemd disable --now lbd
    if [ -z "$root" ] && [ -s /etc/lb/lb.toml ]; then
        "$prefix/sbin/lbd" --config /etc/lb/lb.toml --detach
    fi
    (cd share && find . -type f) | while read -r file; do rm -f "$root$prefix/share/$file"; done
    rm -f "$root$prefix/sbin/lbd" "$root$prefix/sbin/lbctl" "$units/lbd.service"
    rm -f "$root/etc/sysusers.d/lb.conf" "$root/etc/tmpfiles.d/lb.conf"
    systemd daemon-reload
    exit 0
fi

install -d "$root/etc/lb" "$root$prefix/sbin" "$units"
install -m 755 lbd lbctl "$root$prefix/sbin"
install -D -m 644 sysusers.conf "$root/etc/sysusers.d/lb.conf"
install -D -m 644 tmpfiles.conf "$root/etc/tmpfiles.d/lb.conf"
(cd share && find . -type f) | while read -r file; do
    install -D -m 644 "share/$file" "$root$prefix/share/$file"
done
sed "s|/usr/sbin/lbd|$prefix/sbin/lbd|" lbd.service >"$units/lbd.service"
if [ -z "$root" ]; then
    getent group lb >/dev/null || groupadd --system lb
fi
systemd daemon-reload
[ -s "$root/etc/lb/lb.toml" ] || echo "to begin, copy lb.toml to /etc/lb/lb.toml, name the network card in it, and run 'systemctl enable --now lbd'"
