# Whether this machine's own packet filter may drop what comes for the VIPs. What a rule set means as a whole
# is not for a script to say: it warns where something drops and nothing that names the VIP or the port
# accepts.

# rules: what filters, in the words of nft or of iptables; fails where it cannot be read.
rules() {
    if have nft; then
        nft -n list ruleset 2>/dev/null || return 1
    fi
    if grep -qx filter /proc/net/ip_tables_names 2>/dev/null || ! have nft; then
        if have iptables; then iptables -S 2>/dev/null || return 1; fi
    fi
    if grep -qx filter /proc/net/ip6_tables_names 2>/dev/null || ! have nft; then
        if have ip6tables; then ip6tables -S 2>/dev/null | sed 's/^-/6 -/' || return 1; fi
    fi
}

check_firewall() {
    subject firewall
    have nft || have iptables || { found ok "there is neither nft nor iptables here"; return; }
    if ! lb_rules=$(rules); then
        found warning "the packet filter's rules cannot be read"
        fix "run this as root"
        return
    fi
    lb_clean=yes
    for lb_service in $LB_SERVICES; do
        take_apart
        judge_rules
    done
    [ -z "$lb_clean" ] || found ok "nothing is seen in the packet filter that drops packets to the VIPs"
    check_arptables
}

judge_rules() {
    lb_verdict=$(verdict)
    [ -n "$lb_verdict" ] || return 0
    lb_clean=
    found warning "packets to $lb_vip, $lb_protocol port $lb_port, may be dropped: $lb_verdict"
    case $lb_verdict in
        -*) fix_iptables ;;
        *) fix_nft ;;
    esac
}

# verdict: the first that drops and is not made up for; nothing where all is well.
verdict() {
    say "$lb_rules" | awk -v vip="$lb_vip" -v port="$lb_port" -v protocol="$lb_protocol" '
        function about_port() {
            return port != "*" && index($0, "dport") && match(" " $0 " ", "[^0-9]" port "[^0-9]")
        }
        function about_vip() { return index(" " $0 " ", " " vip " ") || index($0, " " vip "/") || index($0, " " vip ",") }
        function mine() { return about_vip() || about_port() }
        # Of nft: a base chain begins with its hook.
        $1 == "table" { family = $2 }
        $1 == "chain" { input = 0 }
        /hook (input|prerouting|ingress)/ { input = 1 }
        family == (vip ~ /:/ ? "ip" : "ip6") || family == "arp" { next }
        /hook input/ && /policy drop/ { if (!first) first = "policy drop in nft" }
        input && /(^|[ \t])(drop|reject)( |$)/ && !/hook/ {
            bare = $0
            gsub(/counter packets [0-9]+ bytes [0-9]+|reject with .*|log prefix "[^"]*"|[ \t]/, "", bare)
            if (mine() || bare == "drop" || bare == "reject" || bare == "") {
                rule = $0; sub(/^[ \t]+/, "", rule)
                if (!first) first = "`" rule "` in nft"
            }
        }
        /(^|[ \t])accept( |$)/ && !/hook/ && !/ct state [a-z,]*(established|related)/ && mine() { good = 1 }
        # Of iptables.
        $1 == "6" { if (vip !~ /:/) next; $1 = ""; sub(/^ /, "") }
        $1 == "-P" && $2 == "INPUT" && $3 == "DROP" { if (!first) first = $0 }
        $1 == "-A" && /-j (DROP|REJECT)/ {
            if (mine() || $2 == "INPUT" && $3 == "-j") { if (!first) first = $0 }
        }
        $1 == "-A" && /-j ACCEPT/ && mine() { good = 1 }
        END { if (first != "" && !good) print first }'
}

fix_nft() {
    case $lb_vip in *:*) lb_family=ip6 ;; *) lb_family=ip ;; esac
    case $lb_protocol:$lb_port in
        any:*) lb_match='' ;;
        *:'*') lb_match=" meta l4proto $lb_protocol" ;;
        *) lb_match=" $lb_protocol dport $lb_port" ;;
    esac
    fix "in the chain that drops, before that: $lb_family daddr $lb_vip$lb_match accept"
}

fix_iptables() {
    case $lb_vip in *:*) lb_family=ip6tables ;; *) lb_family=iptables ;; esac
    case $lb_protocol:$lb_port in
        any:*) lb_match='' ;;
        *:'*') lb_match=" -p $lb_protocol" ;;
        *) lb_match=" -p $lb_protocol --dport $lb_port" ;;
    esac
    fix "$lb_family -I INPUT -d $lb_vip$lb_match -j ACCEPT"
}

# Rules of an older way to keep a server from answering ARP may be about addresses that have moved on.
check_arptables() {
    have arptables || return 0
    for lb_vip in $(vips4); do
        arptables -S 2>/dev/null | grep -qwF "$lb_vip" || continue
        found warning "arptables has rules about $lb_vip; with arp_ignore and arp_announce none are needed"
        fix "look at \`arptables -S\`, and remove them where they are left over"
    done
}
