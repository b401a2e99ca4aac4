#!/bin/sh
# Installs what is beside this file, or removes it: ./install.sh [--remove]. Files go below $DESTDIR, for packagers.
set -eu
cd "$(dirname "$0")"
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
units=$root/etc/systemd/system
config=/etc/lb/lb.toml

systemd() {
    [ -n "$root" ] || ! [ -d /run/systemd/system ] || systemctl "$@"
}

if [ "${1:-}" = --remove ]; then
    # Before its program is gone. What runs knows best what it has attached; else the file says it.
    if [ -z "$root" ] && [ -x "$prefix/sbin/lbd" ] && [ -s $config ]; then
        "$prefix/bin/lbctl" detach 2>/dev/null || "$prefix/sbin/lbd" --config $config --detach
    fi
    ! [ -e "$units/lbd.service" ] || systemd disable --now lbd
    (cd share && find . -type f) | while read -r file; do rm -f "$root$prefix/share/$file"; done
    rm -f "$root$prefix/sbin/lbd" "$root$prefix/bin/lbctl" "$units/lbd.service"
    rm -f "$root/etc/sysusers.d/lb.conf" "$root/etc/tmpfiles.d/lb.conf"
    systemd daemon-reload
    exit 0
fi

install -d "$root/etc/lb" "$units"
install -D -m 755 lbd "$root$prefix/sbin/lbd"
install -D -m 755 lbctl "$root$prefix/bin/lbctl"
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
[ -s "$root$config" ] || echo "to begin, copy lb.toml to /etc/lb/lb.toml, name the network card in it, and run 'systemctl enable --now lbd'"
