# Steps: each looks whether anything is to be done, records what was before, and only then does it. Those
# that begin with `want_` and `put_` fail with a message, and change nothing then.

# kernel PATH: a parameter below /proc/sys as sysctl(8) calls it; its dots are slashes there.
kernel() { say "$1" | tr ./ /.; }

value_of() { cat "/proc/sys/$1" 2>/dev/null; }

write_value() {
    if ! printf '%s\n' "$2" 2>/dev/null >"/proc/sys/$1" || [ "$(value_of "$1")" != "$2" ]; then
        complain "cannot be set to $2 (is /proc/sys read-only?)"
        return 1
    fi
    wrote
}

# want_sysctl PATH VALUE
want_sysctl() {
    step "setting $(kernel "$1")"
    want sysctl "$1" || return 1
    lb_now=$(value_of "$1") || { complain "this kernel does not have it"; return 1; }
    [ "$lb_now" != "$2" ] || return 0
    plan "set $(kernel "$1") to $2 (it is $lb_now)" || return 0
    lb_former=$(recorded sysctl "$1") || lb_former=$lb_now
    # Before this boot it may have been something else.
    [ "$(recorded boot)" = "$(since_boot)" ] || lb_former=$lb_now
    remember sysctl "$1" "${lb_former% *} $2" || return 1
    journal sysctl "$1" "$lb_now" || return 1
    write_value "$1" "$2"
}

# reset_sysctl PATH FORMER OURS: unless it is gone, or somebody else has set it since.
reset_sysctl() {
    step "setting $(kernel "$1") back"
    lb_now=$(value_of "$1") || return 0
    [ "$lb_now" != "$2" ] || return 0
    if [ "$lb_now" != "$3" ]; then
        warn "$(kernel "$1") is $lb_now, which is not what this script had set: left as it is"
        return 0
    fi
    plan "set $(kernel "$1") back to $2" || return 0
    journal sysctl "$1" "$lb_now" || return 1
    write_value "$1" "$2"
}

on_lo() { lines_of "$1" | awk '$1 == "lo" { found = 1 } END { exit !found }'; }

# add_address ADDRESS/LENGTH. IPv6: never a source (its preferred time is over), and at once (nobody else
# is asked for it). BusyBox knows no `nodad`; the kernel asks nobody on lo anyway.
add_address() {
    case $1 in
        *:*)
            lb_said=$(ip address add "$1" dev lo nodad preferred_lft 0 2>&1) ||
                lb_said=$(ip address add "$1" dev lo preferred_lft 0 2>&1)
            ;;
        *) lb_said=$(ip address add "$1" dev lo 2>&1) ;;
    esac || { complain "\`ip\` says: $lb_said"; return 1; }
    wrote
}

delete_address() {
    lb_said=$(ip address del "$1" dev lo 2>&1) || { complain "\`ip\` says: $lb_said"; return 1; }
    wrote
}

# lifetime ADDRESS: how long it may still be a source, in ip's words.
lifetime() { lines_of "$1" | awk '$1 == "lo" { for (i = 2; i < NF; i++) if ($i == "preferred_lft") print $(i + 1) }'; }

# set_lifetime ADDRESS/LENGTH TIME: `nodad` stays if it is there.
set_lifetime() {
    lb_flag=$(lines_of "${1%/*}" | awk '$1 == "lo" && / nodad / { print "nodad" }')
    lb_said=$(ip address change "$1" dev lo ${lb_flag:+"$lb_flag"} valid_lft forever preferred_lft "$2" 2>&1) ||
        { complain "\`ip\` says: $lb_said"; return 1; }
    wrote
}

# want_address ADDRESS
want_address() {
    step "adding $1 to lo"
    want address "$(whole "$1")" || return 1
    want lifetime "$(whole "$1")" || return 1
    if on_lo "$1"; then
        case $1 in *:*) want_no_source "$1" ;; esac
        return
    fi
    plan "add $(whole "$1") to lo" || return 0
    remember address "$(whole "$1")" yes || return 1
    journal address "$(whole "$1")" absent || return 1
    add_address "$(whole "$1")" && settle "$1"
}

# want_no_source ADDRESS: one of IPv6 that is there already.
want_no_source() {
    lb_now=$(lifetime "$1")
    [ "$lb_now" != 0sec ] || return 0
    plan "set the preferred lifetime of $1 to 0" || return 0
    remember lifetime "$(whole "$1")" "${lb_now%sec}" || return 1
    journal lifetime "$(whole "$1")" "${lb_now%sec}" || return 1
    set_lifetime "$(whole "$1")" 0
}

# settle ADDRESS: the kernel adds the route to one of IPv6 a moment later.
settle() {
    lb_tries=0
    until [ "$lb_tries" = 20 ]; do
        case $(ip route get "$1" 2>/dev/null) in *local*) return 0 ;; esac
        sleep 0.05 2>/dev/null || sleep 1
        lb_tries=$((lb_tries + 1))
    done
    complain "it is not this machine's yet: look at \`ip route get $1\`"
    return 1
}

# The name of a file within directories of copies, and of one that is not there yet, beside it: hidden, so
# that nobody takes it for a file of configuration.
copy_name() { say "$1" | tr / %; }
beside() { say "${1%/*}/.lb-backend.${1##*/}"; }

# place FILE PATH: moves a copy of it there at once, with mode and owner.
place() {
    lb_new=$(beside "$2")
    if cp -pP "$1" "$lb_new" 2>/dev/null && flush "$lb_new" && mv -f "$lb_new" "$2" 2>/dev/null; then
        wrote
    else
        rm -f "$lb_new" 2>/dev/null
        complain "cannot be written: is ${2%/*} full or read-only?"
        return 1
    fi
}

# same A B: whether two files say the same; a link is what it points to.
same() {
    if [ -L "$1" ] || [ -L "$2" ]; then
        [ -L "$1" ] && [ -L "$2" ] && [ "$(readlink "$1")" = "$(readlink "$2")" ]
    else
        [ -f "$1" ] && [ -f "$2" ] && [ "$(cat "$1"; echo x)" = "$(cat "$2"; echo x)" ]
    fi
}

exists() { [ -e "$1" ] || [ -L "$1" ]; }

# put_file PATH MODE: what it is to contain comes on standard input.
put_file() {
    if ! cat >"$LB_RUN/new" || ! chmod "$2" "$LB_RUN/new"; then
        complain "cannot write in $LB_RUN"
        return 1
    fi
    put "$1"
}

# put_link PATH TARGET: a symbolic link.
put_link() {
    rm -f "$LB_RUN/new"
    ln -s "$2" "$LB_RUN/new" && put "$1"
}

# put PATH: puts $LB_RUN/new there.
put() {
    want file "$1" || return 1
    put_dir "${1%/*}" || return 1
    step "writing $1"
    ! same "$LB_RUN/new" "$1" || return 0
    plan "write $1" || return 0
    keep_file "$1" && journal_file "$1" && place "$LB_RUN/new" "$1"
}

# put_dir PATH: it and those above it, where they are not there.
put_dir() {
    [ -n "$1" ] || return 0
    want dir "$1" || return 1
    put_dir "${1%/*}" || return 1
    [ ! -d "$1" ] || return 0
    step "making $1"
    plan "make $1" || return 0
    remember dir "$1" yes || return 1
    journal dir "$1" absent || return 1
    mkdir "$1" 2>/dev/null || { complain "cannot be made: is ${1%/*} read-only?"; return 1; }
    wrote
}

# keep_file PATH: records what it was before the first run that changed it.
keep_file() {
    ! recorded file "$1" >/dev/null || return 0
    exists "$1" || { remember file "$1" absent; return; }
    if ! mkdir -p "$LB_DIR/former" || ! cp -pP "$1" "$LB_DIR/former/$(copy_name "$1")"; then
        complain "cannot keep a copy in $LB_DIR/former: is it full?"
        return 1
    fi
    wrote
    remember file "$1" kept
}

# journal_file PATH: keeps what it was before this run.
journal_file() {
    exists "$1" || { journal file "$1" absent; return; }
    [ -e "$LB_RUN/$(copy_name "$1")" ] || cp -pP "$1" "$LB_RUN/$(copy_name "$1")" || return 1
    journal file "$1" kept || return 1
}

# drop_file PATH: what was there before is there again.
drop_file() {
    lb_former=$(recorded file "$1") || return 0
    take_back file "$1" "$lb_former"
}

remove_file() {
    rm -f "$1" 2>/dev/null || { complain "cannot be removed: is ${1%/*} read-only?"; return 1; }
    wrote
}
