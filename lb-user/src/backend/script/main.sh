# The command line.

usage() {
    cat <<END
Makes this machine a real server of these VIPs for a balancer that works by Direct Server Return:
  $LB_VIPS

  $LB_ME apply [--check] [--persist[=WAY]] [--interface NAME]... [--local-real] [--dry-run]
  $LB_ME check [--interface NAME]...
  $LB_ME status
  $LB_ME undo [--dry-run]

apply   sets the kernel parameters, then adds the VIPs to lo; what is right already stays as it is
check   says whether clients can be served from here, and what to do where they cannot
status  says what this script has changed here
undo    makes all of that what it was before

  --check           when all is done: check, and take everything back if something is wrong
  --persist[=WAY]   also write what does it again at boot, in the way of this system or the one that
                    is named${PERSIST_WAYS:+: $PERSIST_WAYS}
  --interface NAME  where packets arrive from the balancer; else as was said before, and else each
                    network card with an address
  --local-real      this machine is a balancer, and serves VIPs itself, too
  --dry-run         only say what would be done

What was before is kept in $LB_DIR (or LB_BACKEND_DIR). Exit codes: 0 all is right; 1 a step
failed, and what was done is undone, or something is wrong; 2 usage, or it cannot be done here.
Printed by lbctl $LB_VERSION.
(For tests: with LB_BACKEND_STOP_AFTER=N it kills itself after N writes.)
END
}

# options: reads those of the command line into LB_ variables.
options() {
    while [ $# -gt 0 ]; do
        case $LB_COMMAND:$1 in
            *:-h | *:--help) usage; exit 0 ;;
            apply:--check) LB_CHECK=yes ;;
            apply:--local-real | check:--local-real) LB_LOCAL_REAL=yes ;;
            apply:--dry-run | undo:--dry-run) LB_DRY=yes ;;
            apply:--persist) LB_PERSIST=found ;;
            apply:--persist=?*) LB_PERSIST=${1#*=} ;;
            apply:--interface=?* | check:--interface=?*) interface_option "${1#*=}" ;;
            apply:--interface | check:--interface)
                [ $# -gt 1 ] || die 2 "--interface: name one, as in --interface eth0"
                shift
                interface_option "$1"
                ;;
            *) die 2 "$LB_COMMAND $1: unknown: see \`$LB_ME --help\`" ;;
        esac
        shift
    done
    [ -z "$LB_GIVEN" ] || LB_INTERFACES=$LB_GIVEN
}

# interface_option NAME: a name is one word without a slash, as the kernel has it.
interface_option() {
    case $1 in
        '' | -* | *[!A-Za-z0-9._-]* | . | .. | all | default | lo)
            die 2 "--interface \"$1\": not the name of a network card: name it as \`ip link\` does" ;;
    esac
    LB_GIVEN="$LB_GIVEN $1"
}

main() {
    LB_STEP='' LB_CHECK='' LB_PERSIST='' LB_GIVEN='' LB_LOCAL_REAL=''
    umask 022
    # Programs are to say what this reads, whatever the language, and to be found where they are for root;
    # and a reader that has gone away is no reason to stop half way.
    LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    export LC_ALL PATH
    trap : PIPE
    LB_COMMAND=${1-}
    case $LB_COMMAND in
        apply | check | undo | status) shift; options "$@" ;;
        -h | --help | help) usage; exit 0 ;;
        '') die 2 "say what to do: apply, check, undo or status; see \`$LB_ME --help\`" ;;
        *) die 2 "$LB_COMMAND: unknown: apply, check, undo or status; see \`$LB_ME --help\`" ;;
    esac
    [ -n "$LB_LOCAL_REAL" ] || LB_LOCAL_REAL=$(recorded local-real) || LB_LOCAL_REAL=
    case $LB_COMMAND in
        apply) apply ;;
        check) need_programs; choose_interfaces; check ;;
        undo) undo_all ;;
        status) status ;;
    esac
}

# Whoever sends this script on standard input must not have programs in it read the rest of it.
main "$@" </dev/null
exit $?
