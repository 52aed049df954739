#!/bin/sh
# Arms what ends this machine when nobody else does; run at every boot, before anything is fetched. Its numbers are files: no value
# is ever part of this text.
set -eu
# Another folder is given by tests alone.
etc=${1:-/etc/slipway}
now=$(date +%s)

# Counted from the first boot: a restart gives no more time.
[ -s "$etc/first-boot" ] || echo "$now" > "$etc/first-boot"
first=$(cat "$etc/first-boot")

# A machine whose agent never enrolled serves nobody. The agent, once enrolled, makes the file `enrolled` and runs `shutdown -c`.
if [ ! -e "$etc/enrolled" ]; then
    left=$(( (first + $(cat "$etc/enrol-within-seconds") - now) / 60 ))
    [ "$left" -ge 1 ] || left=1
    shutdown -P "+$left"
fi

# No extension can have kept it longer than this. A timer of its own, since a machine has one planned shutdown only.
left=$(( first + $(cat "$etc/longest-seconds") - now ))
[ "$left" -ge 60 ] || left=60
systemctl stop slipway-end.timer 2> /dev/null || true
systemd-run --unit=slipway-end --on-active="${left}s" --timer-property=AccuracySec=1s systemctl poweroff
