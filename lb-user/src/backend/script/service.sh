# Whether programs listen on the VIPs.

# listeners: PROTOCOL ADDRESS PORT PROGRAM, one a line; `*` is every address of both families.
listeners() {
    if have ss; then
        { ss -Hltnp 2>/dev/null || ss -Hltn; } | socket_lines tcp
        { ss -Hlunp 2>/dev/null || ss -Hlun; } | socket_lines udp
    else
        kernel_sockets
    fi
}

# socket_lines PROTOCOL: reads what ss prints.
socket_lines() {
    awk -v protocol="$1" '{
        place = $4
        port = place; sub(/.*:/, "", port)
        address = substr(place, 1, length(place) - length(port) - 1)
        if (address ~ /%lo$/) next
        sub(/%[^]]*/, "", address); gsub(/[][]/, "", address)
        if (place ~ /^:::/) address = "*"
        program = "-"
        if (match($0, /\(\("[^"]*"/)) program = substr($0, RSTART + 3, RLENGTH - 4)
        gsub(/ /, "_", program)
        print protocol, address, port, program
    }'
}

# kernel_sockets: the same from /proc/net, where addresses are words of 32 bits in the machine's order.
kernel_sockets() {
    for lb_table in tcp udp tcp6 udp6; do
        [ -r "/proc/net/$lb_table" ] || continue
        awk -v protocol="${lb_table%6}" '
            function number(text,    n, i) {
                for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789ABCDEF", substr(text, i, 1)) - 1
                return n
            }
            function octets(word) { return substr(word, 7, 2) substr(word, 5, 2) substr(word, 3, 2) substr(word, 1, 2) }
            $4 == (protocol == "tcp" ? "0A" : "07") {
                split($2, place, ":")
                hex = ""
                for (i = 1; i < length(place[1]); i += 8) hex = hex octets(substr(place[1], i, 8))
                if (length(hex) == 8) {
                    address = number(substr(hex, 1, 2)) "." number(substr(hex, 3, 2)) "." \
                        number(substr(hex, 5, 2)) "." number(substr(hex, 7, 2))
                } else if (hex ~ /^0+$/) {
                    address = "*"
                } else {
                    address = tolower(hex)
                }
                print protocol, address, number(place[2]), "-"
            }' "/proc/net/$lb_table"
    done
}

# digits ADDRESS: one of IPv6 as 32 digits, which is how the kernel's table has it.
digits() {
    say "$1" | awk '{
        halves = split($0, half, "::")
        left = split(half[1], a, ":"); right = halves > 1 ? split(half[2], b, ":") : 0
        for (i = 1; i <= left; i++) hex = hex pad(a[i])
        for (i = left + right; i < 8; i++) hex = hex "0000"
        for (i = 1; i <= right; i++) hex = hex pad(b[i])
        print hex
    }
    function pad(group) { return substr("0000" group, length(group) + 1) }'
}

check_services() {
    subject service
    lb_listeners=$(listeners)
    for lb_service in $LB_SERVICES; do
        take_apart
        judge_service
    done
}

# take_apart: what $lb_service is: tcp:192.0.2.10:80, udp:[2001:db8::10]:*.
take_apart() {
    lb_protocol=${lb_service%%:*}
    lb_port=${lb_service##*:}
    lb_vip=${lb_service#*:}
    lb_vip=${lb_vip%:*}
    lb_vip=${lb_vip#[}
    lb_vip=${lb_vip%]}
}

# hearing: how $lb_service is listened on: vip, any or no, and by which program, or which one has the port
# at other addresses.
hearing() {
    say "$lb_listeners" | awk -v protocol="$lb_protocol" -v port="$lb_port" -v vip="$lb_vip" \
        -v digits="$(case $lb_vip in *:*) digits "$lb_vip" ;; esac)" '
        protocol != "any" && $1 != protocol || port != "*" && $3 != port { next }
        { program = $4 }
        $2 == vip || $2 == digits { at_vip = 1; its = $4 }
        $2 == "*" || $2 == (vip ~ /:/ ? "::" : "0.0.0.0") { at_any = 1; its_any = $4 }
        END { if (at_vip) print "vip", its; else if (at_any) print "any", its_any; else print "no", program }'
}

judge_service() {
    lb_what="$lb_protocol port $lb_port of $lb_vip"
    [ "$lb_port" != '*' ] || lb_what="any port of $lb_vip"
    lb_heard=$(hearing)
    lb_program=${lb_heard#* }
    case $lb_heard:$lb_protocol in
        vip*) found ok "$lb_what is listened on" ;;
        any*:udp)
            found warning "$lb_what is listened on, as on all addresses: its answers may come from another one"
            fix "have it listen on $lb_vip itself"
            ;;
        any*) found ok "$lb_what is listened on, as on all addresses" ;;
        no*) nobody_listens ;;
    esac
}

nobody_listens() {
    if [ "$lb_port" = '*' ]; then
        found warning "nothing listens on $lb_what"
        fix "start what is to serve $lb_vip"
        return
    fi
    case $lb_program in
        '' | -) found wrong "nothing listens on $lb_what" ;;
        *) found wrong "nothing listens on $lb_what: $lb_program does on other addresses only" ;;
    esac
    case $lb_vip in *:*) lb_at="[$lb_vip]" ;; *) lb_at=$lb_vip ;; esac
    case $lb_program:$lb_protocol in
        nginx*) fix_nginx ;;
        apache* | httpd*) fix_apache ;;
        haproxy*) fix_haproxy ;;
        *:tcp) fix_nginx; fix_apache; fix_haproxy ;;
        *) fix "have the program listen on $lb_at:$lb_port" ;;
    esac
}

fix_nginx() { fix "nginx: listen $lb_at:$lb_port;"; }
fix_haproxy() { fix "HAProxy: bind $lb_at:$lb_port"; }

# An Apache whose virtual hosts are bound to addresses wants the VIP beside the real address in each.
fix_apache() {
    lb_own=$(own_addresses | case $lb_vip in *:*) grep : ;; *) grep -v : ;; esac | head -n 1)
    case $lb_own in *:*) lb_own="[$lb_own]" ;; esac
    fix "Apache: Listen $lb_at:$lb_port and <VirtualHost $lb_at:$lb_port${lb_own:+ $lb_own:$lb_port}>"
}
