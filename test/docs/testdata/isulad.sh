#!/bin/bash
# Stands for isulad and isula of iSulad 2.1.6 with the runtime lcr: reads daemon.json at its start,
# verifies certificates, asks the plug-in, and starts containers with hooks and ids by runc. At the
# socket of a front, isula sends its arguments by gRPC to isulad-grpc (test/docs/isulad).
set -eu -o pipefail
state=/run/isulad engines=/var/lib/isulad/engines/lcr
fail() {
	echo "Error response from daemon: $*" >&2
	exit 125
}
config() { jq --raw-output "$1 // empty" $state/daemon.json; }

if [ "${0##*/}" = isulad ]; then
	[ "${1-}" != --help ] || exec echo '    --tlsverify'
	mkdir -p $state
	cp /etc/isulad/daemon.json $state
	cp "$(config '."hook-spec"')" $state/hooks.json
	install -d -m 750 /var/lib/isulad
	rm -f /run/isulad.sock
	/usr/libexec/isulad-grpc &
	until [ -S /run/isulad.sock ]; do sleep 0.02; done
	exit
fi

arguments=("$@") command=$1
shift
declare -A option
while [[ ${1-} == -* ]]; do
	case $1 in
	-q | -d | -tid | --force | --no-trunc | --system-container | --tlsverify) option[$1]=yes ;;
	-[Hfv] | --tlsca* | --tlscert | --tlskey | --name | --runtime | --hook-spec | --user-remap | \
		--external-rootfs | --memory | --format)
		option[$1]=$2 && shift ;;
	*) fail "unknown option $1" ;;
	esac
	shift
done

call() { # ACTION...: calls its methods at a front, the last one with the arguments of isula
	local text head reply
	reply=$(mktemp)
	while [ $# -gt 0 ]; do
		text=''
		[ $# -gt 1 ] || text=$(printf '%s\n' "${arguments[@]}")
		# curl 7.88 may miss an answer that comes before it has sent the body (92).
		until head=$({
			printf "\\0\\0\\0\\x$(printf %02x $((${#text} >> 8)))\\x$(printf %02x $((${#text} & 255)))"
			printf %s "$text"
		} | curl --silent --http2-prior-knowledge --unix-socket "${host#unix://}" --data-binary @- \
			--header 'content-type: application/grpc' --header 'te: trailers' --dump-header - \
			--output "$reply" "http://isulad/containers.ContainerService/${methods[$1]}"); do
			[ $? = 92 ] || return 1
		done
		grep -q '^grpc-status: 0' <<<"$head" ||
			fail "$(printf %b "$(sed -n 's/\r$//; s/%/\\x/g; s/^grpc-message: //p' <<<"$head")")"
		shift
	done
	tail --bytes +6 "$reply"
	rm "$reply"
}

connect() { # ACTION...
	host=${option[-H]-${ISULAD_HOST:-unix:///var/run/isulad.sock}}
	if [[ $host == unix:* && ${host#unix://} != /var/run/isulad.sock ]]; then
		call "$@"
		exit
	fi
	config '.hosts // ["unix:///var/run/isulad.sock"] | .[]' | grep -qxF "$host" || return 1
	if [[ $host != tcp:* || $(config .tls) != true ]]; then return; fi
	[ -n "${option[--tlsverify]-${ISULAD_TLS_VERIFY-}}" ] || return 1
	ca=${option[--tlscacert]-$ISULAD_CERT_PATH/ca.pem}
	cert=${option[--tlscert]-$ISULAD_CERT_PATH/cert.pem}
	openssl verify -CAfile "$ca" "$(config '."tls-config".CertFile')" >&2 || return 1
	openssl verify -CAfile "$(config '."tls-config".CAFile')" "$cert" >&2 || return 1
	user=$(openssl x509 -in "$cert" -noout -subject -nameopt multiline |
		sed -n 's/^ *commonName *= //p')
	for action; do
		curl --silent --fail --data-binary "$user:$action" http://localhost/isulad.auth \
			--unix-socket "/run/isulad/plugins/$(config '."authorization-plugin"').sock" >&2 ||
			fail "action '$action' for user '$user' is denied"
	done
}

runc() { command runc --root $state/lcr "$@"; }
list() { runc list --format json | jq --raw-output --arg name "${1-}" ".[]? | $FORMAT"; }
id_of() { FORMAT='select([.id, .annotations.name] | index($name)).id' list "$1"; }

run() { # IMAGE PROGRAM...
	local id name
	id=$(openssl rand -hex 32)
	name=${option[--name]-$id}
	(umask 027 && mkdir -p "$engines/$id")
	cd "$engines/$id"
	echo "{\"CommonConfig\":{\"Name\":\"$name\"}}" >config.v2.json
	runc spec
	jq --slurp --arg name "$name" --arg root "${option[--external-rootfs]}" --arg volume "${option[-v]-}" \
		--arg remap "${option[--user-remap]-0:0:0}" --argjson memory "${option[--memory]--1}" '
		def hooks: reduce (.[1:][] | to_entries[]) as $e ({}; .[$e.key] += $e.value);
		def ids($first; $size): [{containerID: 0, hostID: $first, size: $size}];
		($remap | split(":") | map(tonumber)) as [$uid, $gid, $size]
		| .[0] * {hooks: hooks, annotations: {name: $name}, root: {path: $root, readonly: false},
			process: {terminal: false, args: $ARGS.positional[1:]}}
		| .linux.resources.memory.limit = $memory
		| if $volume == "" then . else .mounts += [$volume | split(":")
			| {type: "bind", source: .[0], destination: .[1], options: ["rbind", .[2]]}] end
		| if $size == 0 then . else .linux.namespaces += [{type: "user"}]
			| .linux.uidMappings = ids($uid; $size) | .linux.gidMappings = ids($gid; $size) end' \
		config.json $state/hooks.json ${option[--hook-spec]-} --args "$@" >new.json
	mv new.json config.json
	runc run --detach "$id" >log 2>&1 || fail "$(cat log)"
	runc state "$id" | jq '{Running: true, Pid: .pid}' >container_state.json
}

declare -A actions=([version]=docker_version [run]=container_create [rm]=container_delete
	[exec]='container_inspect container_exec_create' [ps]=container_list [inspect]=container_inspect)
declare -A methods=([docker_version]=Version [container_create]=Create [container_delete]=Delete
	[container_exec_create]=Exec [container_list]=List [container_inspect]=Inspect)
connect ${actions[$command]?"unknown command"} ||
	fail 'Can not connect with server.Is the iSulad daemon running on the host?'
case $command in
version) echo 'Version: 2.1.6' ;;
run) run "$@" ;;
exec) runc exec ${option[-d]+--detach} "$(id_of "$1")" "${@:2}" ;;
rm)
	for name; do
		rm -r "$engines/$(id_of "$name")"
		runc delete --force "$(id_of "$name")"
	done
	;;
ps) FORMAT='"\(.id) \(.pid) \(.annotations.name)"' list | cut -d ' ' -f "1-${option[-q]+1}" ;;
inspect) runc state "$(id_of "$1")" | jq .pid ;;
esac
