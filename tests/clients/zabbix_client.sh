#!/usr/bin/env bash
# Proves: the agent of Zabbix, started by root, becomes another user before it makes its first objects: two segments, marked for
# destruction at once, in which a collector leaves what forked listeners are asked for. On Muster also in a domain that did not
# exist when it was started.
. "$(dirname "$0")/client_common.sh"
need_root "the agent gives up root's rights"
need zabbix_agentd zabbix-agent
need perl perl
need ps procps

# Its protocol: a header, a length, the key; the answer likewise.
ask() {
    timeout 20 perl -MIO::Socket::INET -e '
        my ($port, $key) = @ARGV;
        my $agent = IO::Socket::INET->new("127.0.0.1:$port") or die "$!\n";
        print $agent "ZBXD\1", pack("Q<", length $key), $key;
        local $/;
        my $answer = <$agent>;
        print substr($answer, 13), "\n"' "$port" "$1" 2>&1
}
listens() { [ "$(ask agent.ping)" = 1 ]; }
collected() { [[ $(ask 'system.cpu.util[all,user]') =~ ^[0-9]+\.[0-9]+$ ]]; }

one_agent() {  # one_agent HOW [COMMAND TO START IT WITH...]
    local how=$1 agent port
    shift
    port=$(free_port)
    rm -f "$work/agent/pid"
    printf '%s\n' "PidFile=$work/agent/pid" "LogFile=$work/agent/log" Server=127.0.0.1 ListenIP=127.0.0.1 "ListenPort=$port" \
        StartAgents=4 User=zabbix >"$work/agent/conf"
    timeout 60 "$@" zabbix_agentd -c "$work/agent/conf"
    expect "$how: started" $? 0
    wait_until test -s "$work/agent/pid" || { cat "$work/agent/log"; exit 1; }
    agent=$(cat "$work/agent/pid")
    daemons=("$agent")
    wait_until listens
    # What the collector finds comes by the segment.
    wait_until collected
    expect "$how: the collector's figure" "$(ask 'system.cpu.util[all,user]' | tr 0-9 n | tr -s n)" n.n
    expect "$how: answers" "$(for _ in $(seq 40); do ask agent.ping; done | sort | uniq -c | awk '{ print $1, $2 }')" "40 1"
    expect "$how: its user" "$(ps -o user= -p "$agent")" zabbix
    kill "$agent"
    wait_until dead "$agent" && daemons=()
    expect "$how: ended in order" "$(grep -c 'Zabbix Agent stopped' "$work/agent/log")" 1
    rm -f "$work/agent/log"
}

client() {
    local fresh=()
    mkdir "$work/agent"
    chown zabbix "$work/agent"
    one_agent "as it is"
    expect "objects left behind" "$(objects_left)" 0
    # On the kernel there is but the one.
    [ "$MUSTER_CLIENT_RUN" = kernel ] || fresh=(env MUSTER_DOMAIN="$domain")
    one_agent "in a domain that is not there yet" "${fresh[@]}"
    [ "$MUSTER_CLIENT_RUN" = kernel ] || note "who made that domain: $(stat -c %U "$domain")"
}
run_on_both client shm
