# What survives a reboot: the files of one way, and the kernel parameters with each of them. What they say
# stands in functions files_WAY at the top of this script: each hands its files to a command.

PERSIST_WAYS='ifupdown networkd netplan networkmanager ifcfg systemd'

# persist_detect: the way in which this system sets up its network at boot; the one that lbctl was told
# of, if it fits, and else the most particular first.
persist_detect() {
    if [ -n "$LB_WAY" ] && "runs_$LB_WAY"; then
        say "$LB_WAY"
    elif runs_netplan; then
        say netplan
    elif runs_networkmanager; then
        say networkmanager
    elif runs_ifcfg; then
        say ifcfg
    elif runs_networkd; then
        say networkd
    elif runs_ifupdown; then
        say ifupdown
    elif runs_systemd; then
        say systemd
    else
        die 2 "--persist: it is not seen how this system sets up its network at boot:" \
            "name the way, one of: $PERSIST_WAYS"
    fi
}

# enabled UNIT: whether something starts it at boot, as its links tell: systemd need not run.
enabled() {
    [ "$(readlink "/etc/systemd/system/$1")" != /dev/null ] || return 1
    for lb_dir in /etc /run /usr/lib /lib; do
        for lb_link in "$lb_dir"/systemd/system/*.wants/"$1" "$lb_dir"/systemd/generator*/*.wants/"$1"; do
            ! exists "$lb_link" || return 0
        done
    done
    return 1
}

# Its renderer must be networkd: NetworkManager has a way of its own.
runs_netplan() {
    have netplan && grep -qs '^[[:space:]]*network:' /etc/netplan/*.yaml &&
        ! grep -qs '^[[:space:]]*renderer:[[:space:]]*["'\'']*NetworkManager' /etc/netplan/*.yaml
}

# Before 1.42 it left lo alone.
runs_networkmanager() {
    enabled NetworkManager.service && have nmcli &&
        nmcli --version | awk '{ split($NF, part, "."); exit !(part[1] > 1 || part[1] == 1 && part[2] >= 42) }'
}

# The scripts alone, without a service that calls them, do nothing.
runs_ifcfg() {
    [ -e /etc/sysconfig/network-scripts/ifup-aliases ] || return 1
    if enabled network.service; then return 0; fi
    for lb_link in /etc/rc.d/rc[35].d/S*network /etc/rc[35].d/S*network; do
        ! exists "$lb_link" || return 0
    done
    return 1
}

runs_networkd() { enabled systemd-networkd.service; }
runs_ifupdown() { have ifup && [ -f /etc/network/interfaces ]; }
runs_systemd() { [ -d /run/systemd/system ]; }

# persist_apply WAY: the kernel parameters first, as at boot.
persist_apply() {
    "runs_$1" || warn "--persist=$1: this system does not seem to set up its network in this way"
    [ -n "$LB_DRY" ] || note interfaces "$(interfaces | awk '{ printf "%s%s", n++ ? " " : "", $1 }')" || return 1
    files_sysctl put_filled || return 1
    case $1 in
        ifupdown) free_labels && files_ifupdown put_file && name_in_interfaces ;;
        networkd) files_networkd put_network ;;
        netplan) files_netplan put_file ;;
        networkmanager) only_profile && files_networkmanager put_file ;;
        ifcfg) files_ifcfg free_alias && files_ifcfg put_file ;;
        systemd) install_script && files_systemd put_filled && enable_unit ;;
    esac
}

# put_filled PATH MODE: with the interfaces in their places.
put_filled() { fill | put_file "$1" "$2"; }

# fill: a line that names an interface stands once for each.
fill() {
    lb_options=
    for lb_interface in $LB_INTERFACES; do lb_options="$lb_options --interface $lb_interface"; done
    while IFS= read -r lb_line; do
        case $lb_line in
            *@INTERFACE@* | *@DEVICE@*)
                for lb_interface in $LB_INTERFACES; do
                    lb_filled=$(replaced "$lb_line" @INTERFACE@ "$lb_interface")
                    replaced "$lb_filled" @DEVICE@ "$(device_name "$lb_interface")"
                done
                ;;
            *) replaced "$lb_line" @OPTIONS@ "$lb_options" ;;
        esac
    done
}

# replaced LINE PLACE WORDS: with the words in the place, if it has one.
replaced() {
    case $1 in
        *"$2"*) say "${1%%"$2"*}$3${1#*"$2"}" ;;
        *) say "$1" ;;
    esac
}

# device_name INTERFACE: as systemd writes it in the name of a unit.
device_name() { say "$1" | sed 's/-/\\x2d/g; s/@/\\x40/g'; }

# Debian and Alpine: labels of lo that others use must stay theirs.
free_labels() {
    for lb_file in /etc/network/interfaces /etc/network/interfaces.d/*; do
        if ! [ -f "$lb_file" ] || [ "${lb_file##*/}" = lb-backend ]; then continue; fi
        lb_number=0
        for lb_vip in $LB_VIPS; do
            if grep -qE "^[[:space:]]*iface[[:space:]]+lo:$lb_number([[:space:]]|\$)" "$lb_file"; then
                complain "$lb_file has lo:$lb_number already: remove it there, or say --persist=systemd"
                return 1
            fi
            lb_number=$((lb_number + 1))
        done
    done
}

# name_in_interfaces: unless it names the directory, or has done so before.
name_in_interfaces() {
    lb_main=/etc/network/interfaces
    ! grep -qsE '^[[:space:]]*source(-directory)?[[:space:]]+(/etc/network/)?interfaces\.d(/\*|/lb-backend)?/?[[:space:]]*$' \
        "$lb_main" || { want_as_is "$lb_main"; return; }
    lb_mode=$(mode_of "$lb_main")
    {
        [ ! -f "$lb_main" ] || cat "$lb_main"
        say "source /etc/network/interfaces.d/lb-backend"
    } | put_file "$lb_main" "${lb_mode:-644}"
}

# want_as_is PATH: where an earlier run has changed it, it stays so.
want_as_is() { ! recorded file "$1" >/dev/null || want file "$1"; }

mode_of() { stat -c %a "$1" 2>/dev/null; }

# NetworkManager: of two profiles for lo one holds.
only_profile() {
    for lb_file in /etc/NetworkManager/system-connections/*; do
        [ "${lb_file##*/}" != lb-backend.nmconnection ] || continue
        grep -qsx 'type=loopback' "$lb_file" || continue
        complain "$lb_file has lo already: put the VIPs into it, or say --persist=systemd"
        return 1
    done
}

# put_network PATH MODE: of two files for lo networkd reads the first alone, which must not hide another.
put_network() {
    lb_other=$(network_of_lo)
    put_file "${lb_other:-$1}" "$2"
}

# network_of_lo: a drop-in of the file that somebody else has for lo, if there is one.
network_of_lo() {
    grep -lsE '^[[:space:]]*Name=([^#]*[[:space:]])?lo([[:space:]]|$)' /etc/systemd/network/*.network \
        /run/systemd/network/*.network /usr/lib/systemd/network/*.network /lib/systemd/network/*.network |
        sed 's|.*/||' | grep -vx 00-lb-backend.network | sort |
        sed -n '1s|.*|/etc/systemd/network/&.d/lb-backend.conf|p'
}

# free_alias PATH: a file of somebody else for the same alias stays, unless it is of the same VIP.
free_alias() {
    cat >/dev/null
    [ -f "$1" ] && ! recorded file "$1" >/dev/null || return 0
    for lb_vip in $LB_VIPS; do
        ! grep -qE "ADDR=[\"']?$lb_vip([\"'/]|\$)" "$1" || return 0
    done
    complain "$1 is there already, for another address: move it, or say --persist=systemd"
    return 1
}

install_script() {
    script_text >"$LB_RUN/script" || {
        complain "--persist=systemd: this script was not read from a file, and cannot be kept: put it into one"
        return 1
    }
    put_file /usr/local/sbin/lb-backend 755 <"$LB_RUN/script"
}

# As `systemctl enable` does.
enable_unit() {
    put_link /etc/systemd/system/multi-user.target.wants/lb-backend.service ../lb-backend.service
}

# persist_check WAY: whether what is read at boot is what is set now.
persist_check() {
    lb_stale=
    for lb_file in $(differing_files "$1"); do
        lb_stale=yes
        found wrong "$lb_file is not what --persist=$1 writes: after a reboot something else is set"
        fix "run \`$LB_ME apply --persist=$1\`"
    done
    check_overruled
    if ! "runs_$1"; then
        found warning "this system does not seem to set up its network by $1"
        fix "run \`$LB_ME apply --persist\`, which finds the way"
    elif [ -z "$lb_stale" ]; then
        found ok "it survives a reboot by $1"
    fi
}

# differing_files WAY: those that are not there, or say something else than for the interfaces they were
# written for.
differing_files() {
    LB_INTERFACES=$(recorded interfaces)
    files_sysctl differing_filled
    case $1 in
        networkd) files_networkd differing_network ;;
        systemd)
            files_systemd differing_filled
            exists /usr/local/sbin/lb-backend || say /usr/local/sbin/lb-backend
            enabled lb-backend.service || say /etc/systemd/system/multi-user.target.wants/lb-backend.service
            ;;
        *) "files_$1" differing ;;
    esac
}

differing() { [ "$(cat; echo x)" = "$(cat "$1" 2>/dev/null; echo x)" ] || say "$1"; }
differing_filled() { fill | differing "$1"; }
differing_network() {
    lb_other=$(network_of_lo)
    differing "${lb_other:-$1}"
}

# check_overruled: files that are read later say the last word; without systemd also sysctl.conf is.
check_overruled() {
    for lb_file in /etc/sysctl.d/zz*.conf /etc/sysctl.conf; do
        case $lb_file in
            */zz-lb-backend.conf) continue ;;
            /etc/sysctl.conf) ! runs_systemd || continue ;;
        esac
        if grep -qsE '^[^#;]*(rp_filter|arp_ignore|arp_announce)' "$lb_file"; then
            found warning "$lb_file sets kernel parameters of ARP, too, perhaps after this script's"
            fix "look at it; what is read last holds"
        fi
    done
}
