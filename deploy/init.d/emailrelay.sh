#!/bin/sh
### BEGIN INIT INFO
# Provides:          emailrelay mail-transport-agent
# Required-Start:    $remote_fs $local_fs $network $time
# Required-Stop:     $remote_fs $local_fs $network
# Should-Start:      $syslog $named
# Should-Stop:       $syslog
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: E-MailRelay, a store-and-forward SMTP relay
# Description:       Receives mail over SMTP, keeps it safe, and forwards it.
### END INIT INFO
#
# Install as /etc/init.d/emailrelay. The options of the daemon are in /etc/emailrelay.conf. The
# variables below can have other values in /etc/default/emailrelay.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DAEMON=/opt/emailrelay/bin/emailrelay
CONFIG=/etc/emailrelay.conf
PID_FILE=/run/emailrelay.pid
RUN_AS=emailrelay
STOP_SECONDS=30

DEFAULTS=${RELAY_DEFAULTS:-/etc/default/emailrelay}
if [ -r "$DEFAULTS" ]; then
    # shellcheck source=/dev/null # the administrator writes this file
    . "$DEFAULTS"
fi

# Print the daemon's process number, if it runs. Ignore the number if another program has it now,
# for example after a power cut.
running() {
    # Read neither a link nor a pipe: a pipe would block this script.
    [ -f "$PID_FILE" ] && [ ! -L "$PID_FILE" ] && [ -r "$PID_FILE" ] || return 1
    pid=$(cat "$PID_FILE") || return 1
    case $pid in
        '' | *[!0-9]*) return 1 ;;
    esac
    grep -qs emailrelay "/proc/$pid/cmdline" || return 1
    # If the owner of the file is not root, only a process of that owner counts.
    owner=$(stat -c %u "$PID_FILE") || return 1
    [ "$owner" -eq 0 ] || [ "$owner" -eq "$(stat -c %u "/proc/$pid")" ] || return 1
    echo "$pid"
}

start() {
    if pid=$(running); then
        echo "emailrelay is already running, process $pid"
        return 0
    fi
    if [ ! -x "$DAEMON" ]; then
        echo "emailrelay: $DAEMON does not exist; set DAEMON=... in $DEFAULTS" >&2
        return 5
    fi
    if [ ! -r "$CONFIG" ]; then
        echo "emailrelay: $CONFIG cannot be read; write the options into it (as-server ...)" >&2
        return 6
    fi
    # The command returns when clients can connect. If it fails, it prints the reason.
    "$DAEMON" --pid-file "$PID_FILE" --user "$RUN_AS" "$CONFIG" || return 1
    echo "emailrelay started"
}

stop() {
    if ! pid=$(running); then
        echo "emailrelay is not running"
        return 0
    fi
    kill -TERM "$pid"
    waited=0
    while kill -0 "$pid" 2>/dev/null; do
        if [ "$waited" -ge "$STOP_SECONDS" ]; then
            echo "emailrelay: process $pid has not ended after $STOP_SECONDS seconds" >&2
            return 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    echo "emailrelay stopped"
}

# Send a signal to the running daemon.
send_signal() {
    if ! pid=$(running); then
        echo "emailrelay is not running" >&2
        return 7
    fi
    kill "-$1" "$pid"
}

status() {
    if pid=$(running); then
        echo "emailrelay is running, process $pid"
        return 0
    fi
    if [ -e "$PID_FILE" ]; then
        echo "emailrelay is not running, but $PID_FILE exists"
        return 1
    fi
    echo "emailrelay is not running"
    return 3
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    restart | force-reload) stop && start ;;
    try-restart) ! running >/dev/null || { stop && start; } ;;
    reload) "$DAEMON" --check-config --user "$RUN_AS" "$CONFIG" && send_signal HUP ;;
    forward) send_signal USR1 ;;
    status) status ;;
    *)
        echo "usage: $0 {start|stop|restart|try-restart|reload|force-reload|forward|status}" >&2
        exit 2
        ;;
esac
