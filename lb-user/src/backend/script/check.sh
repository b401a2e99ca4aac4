# Whether clients can be served from here: lines of LEVEL SUBJECT TEXT, which lbctl reads, too.

# report LEVEL SUBJECT TEXT
report() { printf '%-9s %-9s %s\n' "$1" "$2" "$3"; }

report_machine() { report machine "$(uname -n)" "$(own_addresses | tr '\n' ' ' | sed 's/ $//')"; }

# fix TEXT: what to do about the line before.
fix() { printf '%-9s %s\n' fix "$1"; }

# found LEVEL TEXT
found() { report "$1" "$LB_SUBJECT" "$2"; }

# subject NAME
subject() { LB_SUBJECT=$1; }

check() {
    lb_lines=$(findings)
    say "$lb_lines"
    lb_wrong=$(count_of wrong)
    lb_worst=ok
    [ "$(count_of warning)" = 0 ] || lb_worst=warning
    [ "$lb_wrong" = 0 ] || lb_worst=wrong
    report result "$lb_worst" "$lb_wrong wrong, $(count_of warning) warning, $(count_of ok) ok"
    [ "$lb_wrong" = 0 ]
}

count_of() { say "$lb_lines" | awk -v level="$1" '$1 == level { n++ } END { print n + 0 }'; }

findings() {
    report_machine
    # A `*` for all ports is no pattern of files.
    set -f
    check_sysctls
    check_addresses
    check_services
    check_routes
    check_firewall
    check_mtu
    check_balancer
    set +f
    check_persist
}

# effective INTERFACE NAME: the kernel takes the greater of this and what stands for all.
effective() {
    lb_of_all=$(value_of "net/ipv4/conf/all/$2")
    lb_of_one=$(value_of "net/ipv4/conf/$1/$2")
    if [ "${lb_of_all:-0}" -gt "${lb_of_one:-0}" ]; then say "$lb_of_all"; else say "${lb_of_one:-0}"; fi
}

check_sysctls() {
    subject sysctl
    if [ -n "$(vips4)" ]; then
        for lb_interface in $LB_INTERFACES; do
            judge_sysctl rp_filter
            judge_sysctl arp_ignore
            judge_sysctl arp_announce
        done
    fi
    check_proxies
}

# judge_sysctl NAME: as it is in force on $lb_interface.
judge_sysctl() {
    lb_value=$(effective "$lb_interface" "$1")
    lb_what="net.ipv4.conf.$lb_interface.$1 is in force as $lb_value"
    case $1=$lb_value in
        rp_filter=0 | arp_ignore=[128] | arp_announce=2) found ok "$lb_what"; return ;;
        rp_filter=2) found warning "$lb_what: packets from addresses without a route are dropped" ;;
        rp_filter=*) found wrong "$lb_what: packets of clients are dropped whose way back is another" ;;
        arp_ignore=*) found wrong "$lb_what: this machine answers ARP for the VIPs and takes their traffic" ;;
        arp_announce=*) found wrong "$lb_what: ARP requests of this machine tell others that it has the VIPs" ;;
    esac
    fix "run \`$LB_ME apply\`"
}

# Who answers ARP or neighbour discovery for others does so for VIPs that are not on lo.
check_proxies() {
    for lb_interface in $LB_INTERFACES; do
        [ -z "$(vips4)" ] || [ "$(effective "$lb_interface" proxy_arp)" = 0 ] || {
            found warning "proxy_arp is on for $lb_interface: this machine may answer ARP for other machines' VIPs"
            fix "set net.ipv4.conf.$lb_interface.proxy_arp and net.ipv4.conf.all.proxy_arp to 0 if it is not meant"
        }
        [ -z "$(vips6)" ] || [ "$(value_of "net/ipv6/conf/$lb_interface/proxy_ndp")" != 1 ] || {
            found warning "proxy_ndp is on for $lb_interface: this machine may answer for other machines' VIPs"
            fix "set net.ipv6.conf.$lb_interface.proxy_ndp to 0 if it is not meant"
        }
    done
    for lb_vip in $LB_VIPS; do
        ip neigh show proxy 2>/dev/null | grep -qwF "$lb_vip" || continue
        found wrong "$lb_vip has a proxy entry: this machine answers for it and takes its traffic"
        fix "remove it: see \`ip neigh show proxy\`"
    done
}

check_addresses() {
    subject address
    for lb_vip in $LB_VIPS; do
        check_on_lo
        check_elsewhere
    done
}

check_on_lo() {
    lb_line=$(lines_of "$lb_vip" | awk '$1 == "lo"')
    case $lb_line in
        '')
            found wrong "$lb_vip is not on lo: packets to it are not taken, or sent back"
            fix "run \`$LB_ME apply\`"
            ;;
        *" $(whole "$lb_vip") "*) check_state ;;
        *)
            found wrong "$lb_vip is on lo with a whole network, of which no other machine can be reached"
            fix "ip address del $(say "$lb_line" | awk '{ print $2 }') dev lo && $LB_ME apply"
            ;;
    esac
}

# check_state: of an address of IPv6; those of IPv4 have none.
check_state() {
    case $lb_line in
        *tentative* | *dadfailed*)
            found wrong "$lb_vip is on lo and not usable: another machine seems to have it"
            fix "ip address del $(whole "$lb_vip") dev lo && $LB_ME apply"
            ;;
        *'preferred_lft 0sec'*) found ok "$lb_vip is on lo, and never a source" ;;
        *)
            case $lb_vip in
                *:*)
                    found warning "$lb_vip is on lo, and may be chosen as source of this machine's own connections"
                    fix "run \`$LB_ME apply\`"
                    ;;
                *) found ok "$lb_vip is on lo" ;;
            esac
            ;;
    esac
}

check_elsewhere() {
    for lb_place in $(places_of "$lb_vip"); do
        lb_there=$(lines_of "$lb_vip" | awk -v place="$lb_place" '$1 == place { print $2 }')
        # shellcheck disable=SC2086 # A list of words.
        if [ -n "$LB_LOCAL_REAL" ]; then
            found ok "$lb_vip is on $lb_place, too, as on a balancer"
        elif within "$lb_place" $LB_INTERFACES; then
            found wrong "$lb_vip is on $lb_place: this machine answers ARP for it and takes its traffic"
            fix "ip address del $lb_there dev $lb_place"
        else
            found warning "$lb_vip is on $lb_place, too"
            fix "ip address del $lb_there dev $lb_place, if it is not meant"
        fi
    done
}

check_routes() {
    subject route
    [ -z "$(vips4)" ] || check_default -4 IPv4
    [ -z "$(vips6)" ] || check_default -6 IPv6
}

# check_default OPTION FAMILY: answers go straight to the router.
check_default() {
    # An unreachable default counts for none. BusyBox does not show several next hops.
    lb_ways=$(ip "$1" route show 2>/dev/null | awk '
        /^[^ \t]/ { default_ = $1 == "default"; hidden += default_ && NF < 3 }
        default_ { for (i = 1; i < NF; i++) if ($i == "via") { print $(i + 1) == "inet6" ? $(i + 2) : $(i + 1); seen = 1 }
            if ($1 == "default" && $2 == "dev") print $3 }
        END { if (hidden && !seen) print "?" }')
    if [ -z "$lb_ways" ]; then
        found wrong "there is no default route of $2: answers do not find their way to clients"
        fix "ip $1 route add default via ROUTER"
        return
    fi
    for lb_way in $lb_ways; do
        # shellcheck disable=SC2086 # Lists of words.
        if within "$lb_way" $LB_BALANCERS || within "$lb_way" $LB_VIPS; then
            found wrong "the default route of $2 goes to the balancer, $lb_way: answers are to go past it"
            fix "ip $1 route replace default via ROUTER"
        elif [ "$lb_way" = '?' ]; then
            found warning "where the default route of $2 goes is not shown by this \`ip\`"
            fix "install iproute2"
        else
            found ok "the default route of $2 goes to $lb_way"
        fi
    done
}

check_mtu() {
    subject mtu
    for lb_interface in $LB_INTERFACES; do
        lb_mtu=$(ip -o link show dev "$lb_interface" | sed 's/.* mtu \([0-9]*\).*/\1/')
        if [ "$lb_mtu" -ge 1500 ]; then
            found ok "$lb_interface takes packets up to $lb_mtu bytes"
        else
            lb_level=warning
            [ -z "$(vips6)" ] || [ "$lb_mtu" -ge 1280 ] || lb_level=wrong
            found "$lb_level" "$lb_interface has an MTU of $lb_mtu: longer packets of clients may be lost"
            fix "ip link set $lb_interface mtu 1500"
        fi
    done
}

check_balancer() {
    subject balancer
    lb_sign=$(balancer_signs) || return 0
    if [ -n "$LB_LOCAL_REAL" ]; then
        found ok "this machine is a balancer, too, as was said ($lb_sign)"
    else
        found warning "this machine is a balancer ($lb_sign), not a real server"
        fix "run this on a real server, or say --local-real"
    fi
}

check_persist() {
    subject persist
    if lb_way=$(recorded persist); then
        persist_check "$lb_way"
    else
        found warning "what is set here is gone after a reboot, unless something else sets it again"
        fix "run \`$LB_ME apply --persist\`"
    fi
}
