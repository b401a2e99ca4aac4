# The record: what was here before, line by line, written before anything is changed, so that `undo`
# and a second `apply` know it whenever a run was killed. Lines are KIND KEY REST:
#   boot ID                     since when values of the kernel are what they are
#   local-real yes              this machine is a balancer, too, and that is meant
#   persist WAY                 in which way it survives a reboot
#   given NAME...               the interfaces that were named, if any were
#   interfaces NAME...          those that the files for a reboot were written for
#   sysctl PATH FORMER OURS     a kernel parameter, below /proc/sys
#   address ADDRESS/LENGTH yes  was added to lo
#   lifetime ADDRESS/LENGTH FORMER  was on lo as an address that could be a source
#   dir PATH yes                was made
#   file PATH FORMER            was made (FORMER: absent), or changed (a copy: kept)
# What one run does stands in a directory beside it, the journal, for taking it back if a step fails.

LB_DIR=${LB_BACKEND_DIR:-/var/lib/lb-backend}
LB_RECORD=$LB_DIR/record
LB_RUN=$LB_DIR/run
LB_DRY=
LB_FORM='lb-backend 1'

# wrote: for tests: with LB_BACKEND_STOP_AFTER=N it ends here, as if killed, after N writes.
wrote() {
    [ -n "${LB_BACKEND_STOP_AFTER:-}" ] || return 0
    echo >>"$LB_RUN/writes"
    [ "$(wc -l <"$LB_RUN/writes")" -lt "$LB_BACKEND_STOP_AFTER" ] && return 0
    kill -9 $$
    exit 137
}

# recorded KIND [KEY]: prints the rest of its line; fails where there is none.
recorded() {
    [ -f "$LB_RECORD" ] || return 1
    awk -v kind="$1" -v key="${2-}" '
        $1 == kind && (key == "" || $2 == key) { sub(/^[^ ]+ /, ""); if (key != "") sub(/^[^ ]+ /, "")
            print; found = 1; exit }
        END { exit !found }' "$LB_RECORD"
}

# entries KIND: the keys of a kind, the newest first.
entries() {
    [ -f "$LB_RECORD" ] || return 0
    awk -v kind="$1" '$1 == kind { keys[n++] = $2 } END { while (n) print keys[--n] }' "$LB_RECORD"
}

# save_record TEXT: all of it or nothing.
save_record() {
    if printf '%s\n' "$1" 2>/dev/null >"$LB_RECORD.new" && flush "$LB_RECORD.new" &&
        mv -f "$LB_RECORD.new" "$LB_RECORD"; then
        wrote
    else
        complain "cannot write $LB_RECORD: is $LB_DIR full or read-only?"
        return 1
    fi
}

# flush FILE: what is on the disk is on the disk; where `sync` can.
flush() { sync "$1" 2>/dev/null || :; }

# without KIND [KEY]: the record but this line.
without() {
    if [ -f "$LB_RECORD" ]; then
        awk -v kind="$1" -v key="${2-}" '!($1 == kind && (key == "" || $2 == key))' "$LB_RECORD"
    else
        say "$LB_FORM"
    fi
}

# remember KIND KEY [REST]: instead of what is recorded of it, if anything is.
remember() {
    lb_text=$(without "$1" "$2")
    save_record "$lb_text
$1 $2${3:+ $3}"
}

# note KIND WORD: remembers the only line of a kind, if it is not there.
note() {
    [ "$(recorded "$1")" != "$2" ] || return 0
    lb_text=$(without "$1")
    save_record "$lb_text
$1 $2"
}

# forget KIND KEY
forget() {
    lb_text=$(without "$1" "$2")
    save_record "$lb_text"
}

# append FILE TEXT: a line of what this run must know.
append() {
    printf '%s\n' "$2" 2>/dev/null >>"$LB_RUN/$1" || { complain "cannot write in $LB_RUN: is it full?"; return 1; }
}

# journal KIND KEY BEFORE: what it was before this run touched it.
journal() { append journal "$*"; }

# want KIND KEY: this run leaves it recorded.
want() { append wanted "$1 $2"; }

wanted() { grep -qxF "$1 $2" "$LB_RUN/wanted" 2>/dev/null; }

# since_boot: the boot's own id.
since_boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null || say unknown; }

# started PID: when a process started, by which it is told from a later one of its number.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '{ print $20 }'; }

# lock: keeps a second run out while this one lasts. The lock of one that was killed counts for nothing.
lock() {
    lb_tries=0
    until ln -s "$$:$(started $$)" "$LB_DIR/lock" 2>/dev/null; do
        lb_theirs=$(readlink "$LB_DIR/lock")
        lb_since=$(started "${lb_theirs%%:*}")
        if [ -n "$lb_since" ] && [ "$lb_theirs" = "${lb_theirs%%:*}:$lb_since" ]; then
            die 2 "another run (process ${lb_theirs%%:*}) is under way: wait until it has ended"
        fi
        lb_tries=$((lb_tries + 1))
        [ "$lb_tries" -lt 20 ] || die 2 "$LB_DIR/lock: cannot be made: set LB_BACKEND_DIR to another directory"
        rm -f "$LB_DIR/lock"
    done
    trap unlock 0
}

unlock() {
    trap - 0
    rm -f "$LB_DIR/lock"
    rmdir "$LB_DIR" 2>/dev/null || :
}

# open_record: makes the place for it, and keeps others out.
open_record() {
    if ! mkdir -p "$LB_DIR" 2>/dev/null || ! touch "$LB_DIR/probe" 2>/dev/null; then
        die 2 "$LB_DIR: cannot be written (read-only?): set LB_BACKEND_DIR to a directory that can"
    fi
    rm -f "$LB_DIR/probe"
    lock
    rm -rf "$LB_RUN"
    mkdir "$LB_RUN" || die 2 "$LB_RUN: cannot be made: set LB_BACKEND_DIR to another directory"
    if [ -f "$LB_RECORD" ]; then
        [ "$(head -n 1 "$LB_RECORD")" = "$LB_FORM" ] ||
            die 2 "$LB_RECORD: is of another version: run the \`undo\` of the script that wrote it"
        cp "$LB_RECORD" "$LB_RUN/record" || die 2 "$LB_RUN: cannot be written: is it full?"
    fi
}

# see_record: as open_record, for a run that changes nothing.
see_record() {
    LB_RUN=$(mktemp -d) || die 2 "no place for temporary files: set TMPDIR"
    trap 'rm -rf "$LB_RUN"' 0
}

# close_record: nothing of it is left where it says nothing.
close_record() {
    rm -rf "$LB_RUN" "$LB_RECORD.new"
    if [ -z "$(entries sysctl)$(entries address)$(entries lifetime)$(entries file)$(entries dir)" ]; then
        rm -rf "$LB_RECORD" "$LB_DIR/former"
    fi
    unlock
    rmdir "$LB_DIR" 2>/dev/null || :
}
