# What survives a reboot.

PERSIST_WAYS='sysctl'

persist_detect() { say sysctl; }

persist_apply() {
    for lb_setting in $(sysctls); do
        say "$(kernel "${lb_setting%=*}") = ${lb_setting#*=}"
    done | put_file /etc/sysctl.d/90-lb-backend.conf 644
}

persist_check() { found ok "it survives a reboot by $1"; }
