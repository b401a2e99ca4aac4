# The runs: apply, undo, status.

need_root() {
    [ "$(id -u)" = 0 ] || die 2 "you are not root: run it as root, as in \`sudo $LB_ME $LB_COMMAND\`"
}

need_programs() {
    for lb_program in ip:iproute2 awk:mawk sed:sed grep:grep; do
        have "${lb_program%:*}" || die 2 "there is no \`${lb_program%:*}\` here: install ${lb_program#*:}"
    done
}

# look_before: what must be so before anything is touched.
look_before() {
    need_programs
    need_root
    choose_interfaces
    refuse_balancer
    for lb_path in $(sysctls); do
        [ -e "/proc/sys/${lb_path%=*}" ] ||
            die 2 "$(kernel "${lb_path%=*}"): this kernel does not have it: it takes one with IPv4 and /proc/sys"
    done
    [ -z "$(vips6)" ] || look_at_ipv6
}

look_at_ipv6() {
    [ -d /proc/sys/net/ipv6/conf/lo ] ||
        die 2 "$(vips6 | head -n 1): this kernel has no IPv6: boot it without ipv6.disable=1, or leave this VIP out"
    [ "$(value_of net/ipv6/conf/lo/disable_ipv6)" != 1 ] || die 2 "$(vips6 | head -n 1): IPv6 is off on lo:" \
        "switch it on with \`sysctl -w net.ipv6.conf.lo.disable_ipv6=0\`, or leave this VIP out"
}

# refuse_balancer: with what it has to do, a balancer must answer ARP for the VIPs.
refuse_balancer() {
    [ -z "$LB_LOCAL_REAL" ] || return 0
    if lb_sign=$(balancer_signs); then
        die 2 "this machine is a balancer ($lb_sign): run this on a real server;" \
            "if it is to serve VIPs itself, too, say --local-real"
    fi
    for lb_vip in $LB_VIPS; do
        for lb_place in $(places_of "$lb_vip"); do
            # shellcheck disable=SC2086 # A list of words.
            ! within "$lb_place" $LB_INTERFACES || die 2 "$lb_vip is an address of $lb_place:" \
                "remove it there, since only the balancer may answer for it; if this is the balancer, say --local-real"
        done
    done
}

# sysctls: PATH=VALUE, one a line, in the order in which they are to be set. IPv6 needs none: it answers
# for an address only on the interface that has it.
sysctls() {
    [ -n "$(vips4)" ] || return 0
    for lb_interface in all $LB_INTERFACES; do
        say "net/ipv4/conf/$lb_interface/rp_filter=0"
        say "net/ipv4/conf/$lb_interface/arp_ignore=1"
        say "net/ipv4/conf/$lb_interface/arp_announce=2"
    done
}

# steps: all of them, in order. Addresses come after the kernel parameters: a server that has one for a
# moment without them answers the router's ARP, and takes all of the VIP's traffic.
steps() {
    for lb_setting in $(sysctls); do
        want_sysctl "${lb_setting%=*}" "${lb_setting#*=}" || return 1
    done
    for lb_vip in $LB_VIPS; do
        want_address "$lb_vip" || return 1
    done
    if [ -n "$LB_PERSIST" ]; then
        step "making it survive a reboot by $LB_PERSIST"
        persist_apply "$LB_PERSIST" || return 1
    fi
    sweep || return 1
    [ -n "$LB_DRY" ] || write_notes
}

write_notes() {
    step "writing the record"
    [ -f "$LB_RECORD" ] || return 0
    note boot "$(since_boot)" || return 1
    [ -z "$LB_GIVEN" ] || note given "$LB_GIVEN" || return 1
    [ -z "$LB_PERSIST" ] || note persist "$LB_PERSIST" || return 1
    [ -z "$LB_LOCAL_REAL" ] || note local-real yes
}

# choose_persistence: what --persist says; else what was said before.
choose_persistence() {
    case $LB_PERSIST in
        '') LB_PERSIST=$(recorded persist) || LB_PERSIST= ;;
        found) LB_PERSIST=$(persist_detect) || exit ;;
    esac
    # shellcheck disable=SC2086 # A list of words.
    [ -z "$LB_PERSIST" ] || within "$LB_PERSIST" $PERSIST_WAYS ||
        die 2 "--persist=$LB_PERSIST: unknown; one of: $PERSIST_WAYS"
}

apply() {
    look_before
    choose_persistence
    if [ -n "$LB_DRY" ]; then see_record; else open_record; fi
    trap 'step ""; complain "interrupted"; give_up' HUP INT TERM
    steps || give_up
    if [ -n "$LB_CHECK" ] && [ -z "$LB_DRY" ]; then
        step ''
        check || { complain "check found something wrong, see above"; give_up; }
    fi
    trap '' HUP INT TERM
    close "$LB_COMMAND"
}

# give_up: a step failed.
give_up() {
    if [ -n "$LB_DRY" ]; then exit 1; fi
    lb_any=
    [ ! -s "$LB_RUN/journal" ] || lb_any=yes
    if roll_back && [ -n "$lb_any" ]; then say "what this run did is undone"; fi
    close_record
    exit 1
}

# close WHAT: says how much there was to do.
close() {
    lb_count=0
    [ ! -f "$LB_RUN/done" ] || lb_count=$(awk 'END { print NR }' "$LB_RUN/done")
    case $lb_count${LB_DRY:+ dry} in
        0*) say "$1: nothing to change" ;;
        *dry) say "$1: $lb_count changes, none of them made" ;;
        *) say "$1: done, $lb_count changes" ;;
    esac
    [ -n "$LB_DRY" ] || close_record
}

undo_all() {
    need_programs
    need_root
    [ -f "$LB_RECORD" ] || { say "undo: nothing is recorded in $LB_DIR, so there is nothing to undo"; return 0; }
    if [ -n "$LB_DRY" ]; then see_record; else open_record; fi
    if undo; then
        close undo
    else
        close_record
        exit 1
    fi
}

# status: what stands in the record, and whether it is so; judges nothing.
status() {
    need_programs
    [ -n "$LB_INTERFACES" ] || LB_INTERFACES=$(recorded given) || LB_INTERFACES=$(find_interfaces)
    report_machine
    ! lb_given=$(recorded given) || report ok sysctl "for the interfaces that were named: $lb_given"
    for lb_path in $(entries sysctl); do
        lb_former=$(recorded sysctl "$lb_path")
        report ok sysctl "$(kernel "$lb_path") is $(value_of "$lb_path"), it was ${lb_former% *}"
    done
    for lb_vip in $LB_VIPS; do
        if ! on_lo "$lb_vip"; then
            report warning address "$lb_vip is not on lo"
        elif recorded address "$(whole "$lb_vip")" >/dev/null; then
            report ok address "$lb_vip is on lo, added by this script"
        else
            report ok address "$lb_vip is on lo, and was before"
        fi
    done
    ! lb_way=$(recorded persist) || report ok persist "by $lb_way"
    for lb_file in $(entries file); do
        report ok persist "$lb_file is written by this script"
    done
    report result "$(if [ -f "$LB_RECORD" ]; then echo ok; else echo warning; fi)" \
        "$(if [ -f "$LB_RECORD" ]; then echo "set up by this script"; else echo "not set up by this script"; fi)"
}
