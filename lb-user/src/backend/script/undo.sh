# Taking back: an entry of the record, a whole run, everything.

# plan TEXT: says what comes; fails where it is not to be done, in a dry run.
plan() {
    if [ -n "$LB_DRY" ]; then
        say "would $1"
        say "$1" >>"$LB_RUN/done"
        return 1
    fi
    say "$1" >>"$LB_RUN/done"
    say "$1"
}

# take_back KIND KEY REST: makes it what it was before the first run, and forgets it.
take_back() {
    # shellcheck disable=SC2086 # The rest of a kernel parameter's line is two words.
    case $1 in
        address) lose_address "$2" ;;
        lifetime) lose_lifetime "$2" "$3" ;;
        file) lose_file "$2" "$3" ;;
        dir) lose_dir "$2" ;;
        sysctl) reset_sysctl "$2" $3 ;;
    esac || return 1
    [ -n "$LB_DRY" ] || forget "$1" "$2"
}

lose_address() {
    step "removing $1 from lo"
    on_lo "${1%/*}" || return 0
    plan "remove $1 from lo" || return 0
    journal address "$1" present || return 1
    delete_address "$1"
}

lose_lifetime() {
    step "setting the preferred lifetime of $1 back"
    on_lo "${1%/*}" && [ "$(lifetime "${1%/*}")" = 0sec ] || return 0
    plan "set the preferred lifetime of $1 back to $2" || return 0
    journal lifetime "$1" 0 || return 1
    set_lifetime "$1" "$2"
}

lose_file() {
    step "putting $1 back"
    lb_copy=$LB_DIR/former/$(copy_name "$1")
    if [ "$2" = absent ]; then
        rm -f "$(beside "$1")" 2>/dev/null
        exists "$1" || return 0
        plan "remove $1" || return 0
        journal_file "$1" && remove_file "$1"
    else
        ! same "$lb_copy" "$1" || return 0
        plan "put $1 back" || return 0
        journal_file "$1" && place "$lb_copy" "$1"
    fi
}

# lose_dir PATH: what others have put there stays, and the directory with it.
lose_dir() {
    step "removing $1"
    [ -d "$1" ] && [ -z "$(ls -A "$1")" ] || return 0
    plan "remove $1" || return 0
    journal dir "$1" present || return 1
    rmdir "$1" 2>/dev/null || { complain "cannot be removed: is ${1%/*} read-only?"; return 1; }
    wrote
}

# sweep: takes back what is recorded and no longer wanted. Addresses go first: they must not be here
# without the kernel parameters.
sweep() {
    for lb_kind in address lifetime file dir sysctl; do
        for lb_key in $(entries "$lb_kind"); do
            ! wanted "$lb_kind" "$lb_key" || continue
            take_back "$lb_kind" "$lb_key" "$(recorded "$lb_kind" "$lb_key")" || return 1
        done
    done
}

# roll_back: everything is again as it was before this run.
roll_back() {
    trap '' HUP INT TERM
    lb_whole=yes
    # By no file: the disk may be full, which may be why.
    lb_back=$(awk '{ lines[n++] = $0 } END { while (n) print lines[--n] }' "$LB_RUN/journal" 2>/dev/null)
    while read -r lb_kind lb_key lb_before; do
        [ -z "$lb_kind" ] || restore "$lb_kind" "$lb_key" "$lb_before" || lb_whole=
    done <<END
$lb_back
END
    step ''
    if [ -z "$lb_whole" ]; then
        complain "not all of it could be undone: run \`$LB_ME undo\` when that is put right"
        return 1
    elif [ -f "$LB_RUN/record" ]; then
        mv -f "$LB_RUN/record" "$LB_RECORD"
    else
        rm -rf "$LB_RECORD" "$LB_DIR/former"
    fi
}

# restore KIND KEY BEFORE: what a step of this run changed, if it came to that.
restore() {
    step "putting $2 back"
    case $1:$3 in
        sysctl:*) [ "$(value_of "$2")" = "$3" ] || write_value "$2" "$3" ;;
        address:absent) ! on_lo "${2%/*}" || delete_address "$2" ;;
        address:*) on_lo "${2%/*}" || add_address "$2" ;;
        lifetime:*) set_lifetime "$2" "$3" ;;
        file:absent) ! exists "$2" || remove_file "$2" ;;
        file:*) same "$LB_RUN/$(copy_name "$2")" "$2" || place "$LB_RUN/$(copy_name "$2")" "$2" ;;
        dir:absent) ! [ -d "$2" ] || rmdir "$2" ;;
        dir:*) [ -d "$2" ] || mkdir "$2" ;;
    esac
}

# undo: everything that is recorded, as far as it goes.
undo() {
    lb_failed=
    for lb_kind in address lifetime file dir sysctl; do
        for lb_key in $(entries "$lb_kind"); do
            take_back "$lb_kind" "$lb_key" "$(recorded "$lb_kind" "$lb_key")" || lb_failed=yes
        done
    done
    [ -z "$lb_failed" ]
}
