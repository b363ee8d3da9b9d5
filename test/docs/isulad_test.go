//go:build integration

package docs

import (
	"testing"
	"time"
)

// isuladRefuses checks that the stand-in refuses what iSulad 2.1.6 refuses.
const isuladRefuses = `with_isulad
root_fs /home/root-fs
refused() { # TEXT COMMAND...
	local text=$1 out
	shift
	if out=$("$@" 2>&1); then echo "not refused: $*"; return 1; fi
	grep -qF -e "$text" <<<"$out" || { echo "$*: $out"; return 1; }
}
restart() { echo "$1" >/etc/isulad/daemon.json && systemctl restart isulad; }
refused 'command "-H" not found' isula -H unix:///var/run/isulad.sock ps
container=(--system-container --external-rootfs /home/root-fs none true)
refused 'cannot punch hole' isula run -tid "${container[@]}"
refused 'Container is not running' isula run -tid --runtime lcr --user-remap 1:1:10 "${container[@]}"
refused 'only available in system container' isula run -tid --user-remap 1:1:10 --external-rootfs /home/root-fs none true
refused 'Invalid container name' isula run -tid --runtime lcr --name x "${container[@]}"

restart '{"hook-spec":"/etc/default/isulad/hooks/default.json","hook-spec":"/no"}'
refused 'control process' restart '{"hook-spec":"/no","hook-spec":"/etc/default/isulad/hooks/default.json"}'
refused 'Can not connect' isula ps
refused 'control process' restart '{} {}'
refused 'control process' restart '{"hosts":["127.0.0.1:2375"]}'
refused 'control process' restart '{"tls-verify":true,"tls-config":{"CAFile":"/no"}}'

restart '{"hosts":["tcp://127.0.0.1:2375"],"hosts":["unix:///var/run/isulad.sock"]}'
refused 'Can not connect' isula ps
isula ps -H tcp://127.0.0.1:2375
ISULAD_HOST=tcp://localhost:2375 isula ps
refused 'Can not connect' env ISULAD_HOST=localhost:2375 isula ps

certs=/etc/isulad/certs
authz-broker certs --dir $certs --server localhost --client alice
authz-broker certs --dir /root/other --server localhost --client alice
restart '{"hosts":["tcp://127.0.0.1:2375"],"tls-verify":true,"tls-config":{"CAFile":"/etc/isulad/certs/ca.pem",
	"CertFile":"/etc/isulad/certs/server-cert.pem","KeyFile":"/etc/isulad/certs/server-key.pem"}}'
mkdir /root/.iSulad
cp $certs/alice/*.pem /root/.iSulad
export ISULAD_HOST=tcp://localhost:2375
refused 'Can not connect' isula ps
export ISULAD_TLS_VERIFY=1
refused 'Can not connect' isula ps
ISULAD_CERT_PATH=/root/.iSulad isula ps
refused 'Can not connect' env ISULAD_CERT_PATH=/root/other/alice isula ps
`

func TestIsuladRefuses(t *testing.T) {
	w := newWorld(t)
	number := w.add(t, isuladRefuses)
	if failed := w.run(t, shared.layer, 2*time.Minute); failed != 0 {
		t.Error(w.output(number))
	}
}

// isuladTCPOnly has a container of an iSulad that isula cannot ask: the commands find it, and say
// how.
const isuladTCPOnly = `with_isulad
root_fs /home/root-fs
systemctl start lxcfs
isula run -tid --runtime lcr --name web --system-container --external-rootfs /home/root-fs none sleep 1000
echo '{"hosts":["tcp://127.0.0.1:2375"]}' >/etc/isulad/daemon.json
systemctl restart isulad
found() { # COMMAND...
	"$@" >out 2>err || { echo "$*: exit code $?"; cat out err; return 1; }
	grep -q 'web .*' out && grep -q 'Can not connect.*containers are read from /var/lib/isulad/engines' err ||
		{ echo "$*:"; cat out err; return 1; }
}
found lxcfs-toolkit list
grep -q ' web .* isulad ' out
found lxcfs-toolkit remount --all
found lxcfs-toolkit remount --container-id web
found lxcfs-toolkit top --once
if isula exec web true; then echo "it connects without an address"; exit 1; fi
export ISULAD_HOST=tcp://127.0.0.1:2375
isula exec web grep -q lxcfs /proc/mounts

# A state file that cannot be read is named.
echo '{"Running":' >"$(echo /var/lib/isulad/engines/lcr/*)/container_state.json"
unset ISULAD_HOST
lxcfs-toolkit list >out 2>err
grep -q 'container_state.json.*unexpected end' err || { cat out err; false; }
`

func TestIsuladTCPOnly(t *testing.T) {
	w := newWorld(t)
	number := w.add(t, isuladTCPOnly)
	if failed := w.run(t, shared.layer, 2*time.Minute); failed != 0 {
		t.Error(w.output(number))
	}
}
