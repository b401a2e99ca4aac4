# Words, errors, and what this machine is like.

say() { printf '%s\n' "$*" 2>/dev/null || :; }
warn() { printf 'lb-backend: warning: %s\n' "$*" >&2 || :; }

# complain TEXT: an error, with the step it happened in.
complain() { printf 'lb-backend: %s%s\n' "${LB_STEP:+$LB_STEP: }" "$*" >&2 || :; }

# die CODE TEXT
die() {
    lb_code=$1
    shift
    complain "$@"
    exit "$lb_code"
}

have() { command -v "$1" >/dev/null 2>&1; }

# step NAME: what is done from here on, for error messages.
step() { LB_STEP=$1; }

# within WORD LIST...: whether the word is one of the list.
within() {
    lb_word=$1
    shift
    for lb_other; do
        [ "$lb_word" != "$lb_other" ] || return 0
    done
    return 1
}

vips4() { for lb_vip in $LB_VIPS; do case $lb_vip in *:*) ;; *) say "$lb_vip" ;; esac; done; }
vips6() { for lb_vip in $LB_VIPS; do case $lb_vip in *:*) say "$lb_vip" ;; esac; done; }

# whole ADDRESS: with the length of a prefix that is the address alone.
whole() { case $1 in *:*) say "$1/128" ;; *) say "$1/32" ;; esac; }

# addresses: a line for each address of this machine: INTERFACE ADDRESS/LENGTH WORDS...
addresses() {
    ip -o addr show | awk '{ name = $2; sub(/@.*/, "", name); sub(/\\/, " ")
        $1 = ""; $2 = ""; $3 = ""; sub(/^ +/, ""); print name, $0 }'
}

# lines_of ADDRESS: those of `addresses` that are about it.
lines_of() { addresses | awk -v address="$1" 'index($2, address "/") == 1'; }

# places_of ADDRESS: the interfaces that have it, but lo.
places_of() { lines_of "$1" | awk '$1 != "lo" { print $1 }'; }

# interfaces: those on which packets arrive from the balancer, one a line.
interfaces() { for lb_interface in $LB_INTERFACES; do say "$lb_interface"; done; }

# find_interfaces: every network card with an address of its own. What containers, virtual machines
# and tunnels have is none: no balancer sends there.
find_interfaces() {
    for lb_interface in $(addresses | awk '/scope global/ && $1 != "lo" { print $1 }' | sort -u); do
        case $lb_interface in
            docker* | br-* | veth* | virbr* | vnet* | cni* | cali* | flannel* | lxc* | lxd* | podman* | \
                tap* | tun* | wg* | tailscale* | zt*) continue ;;
        esac
        case $(ip -o link show dev "$lb_interface" 2>/dev/null) in
            *link/ether*) say "$lb_interface" ;;
        esac
    done
}

# choose_interfaces: from here on LB_INTERFACES are those that are meant, and there; LB_GIVEN those that
# were named now.
choose_interfaces() {
    LB_GIVEN=${LB_INTERFACES# }
    [ -n "$LB_INTERFACES" ] || LB_INTERFACES=$(recorded given) || LB_INTERFACES=$(find_interfaces)
    [ -n "$LB_INTERFACES" ] ||
        die 2 "no network card with an address: name it, as in --interface eth0"
    for lb_interface in $LB_INTERFACES; do
        ip link show dev "$lb_interface" >/dev/null 2>&1 || die 2 \
            "interface $lb_interface: is not there: name one of these: $(ip -o link show | awk -F': ' \
            '{ sub(/@.*/, "", $2); if ($2 != "lo") printf "%s%s", n++ ? " " : "", $2 }')"
    done
}

# own_addresses: those of the LAN that are no VIPs, one a line.
own_addresses() {
    addresses | while read -r lb_name lb_address lb_words; do
        # shellcheck disable=SC2086 # Lists of words.
        if within "$lb_name" $LB_INTERFACES && ! within "${lb_address%/*}" $LB_VIPS; then
            case $lb_words in *'scope global'*) say "${lb_address%/*}" ;; esac
        fi
    done
}

# balancer_signs: what shows that this machine is a balancer; fails where nothing does.
balancer_signs() {
    lb_pins=${LB_BACKEND_PINS:-/sys/fs/bpf/lb}
    if [ -d "$lb_pins" ]; then
        say "$lb_pins is there"
    else
        return 1
    fi
}

# script_text: this script, for who installs it; fails where it was not read from a file.
script_text() { [ -f "$0" ] && [ -r "$0" ] && cat "$0"; }

# How to run this again, for advice.
if [ -f "$0" ]; then LB_ME="sh $0"; else LB_ME="sh lb-backend.sh"; fi
