//go:build integration

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// packages lists the names of all packages.
var packages = []string{"palisade-lxcfs", "palisade-lxcfs-toolkit", "palisade-tools", "palisade-lxc", "palisade-nri", "palisade-userns-shift", "palisade-authz-broker"}

// services lists the units that an operator uses.
var services = []string{"lxcfs.service", "authz-broker.service", "authz-broker.socket"}

// packager installs and removes packages of a kind.
type packager struct {
	kind               string
	installer, remover []string
	// kept lists files that remain when the packages are removed with the operator's policies.
	kept []string
}

var (
	// rpm's database lacks what this machine's /usr holds.
	debs = packager{"deb", []string{"dpkg", "-i"}, []string{"dpkg", "-r"},
		[]string{policyFile, hookspec, "/var/lib/lcrd/hooks/hookspec.json", shiftKey}}
	rpms = packager{"rpm", []string{"rpm", "-U", "--nodeps"}, []string{"rpm", "-e"},
		append([]string{policyFile + ".rpmsave", shiftKey}, othersDirectories...)}
	// On a distribution with rpms other packages own these.
	othersDirectories = []string{"/usr/share/licenses", "/usr/share/zsh/site-functions", "/var/lib/isulad", "/var/lib/lcrd"}
)

// shiftKey is kept on removal, so that records of shifted trees stay valid.
const shiftKey = "/var/lib/userns-shift/key"

// bootFirst boots the machine without any package.
func (s *story) bootFirst() {
	if err := s.Boot("multi-user.target"); err != nil {
		s.Fatal(err)
	}
	s.before = s.tree()
	s.directory = filepath.Join(shared.packages, s.kind+"s")
	if strings.HasPrefix(s.directory, "/usr/") { // visible in the machine
		return
	}
	if err := os.CopyFS(s.Path("/srv/packages"), os.DirFS(s.directory)); err != nil {
		s.Fatal(err)
	}
	s.directory = "/srv/packages"
}

// add installs the packages of a version.
func (s *story) add(version string, count int) string {
	s.Helper()
	found, err := filepath.Glob(s.Path(filepath.Join(s.directory, version, "*."+s.kind)))
	if err != nil || len(found) != count {
		s.Fatalf("got packages %q, %v, want %d", found, err, count)
	}
	args := slices.Clone(s.installer)
	for _, path := range found {
		args = append(args, filepath.Join(s.directory, version, filepath.Base(path)))
	}
	return s.do(args...)
}

// install installs the first version.
func (s *story) install() {
	s.bootFirst()
	s.add("first", len(packages))
	out := s.do("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\n", "palisade-*")
	s.check(strings.Count(out, "ii ") == len(packages), "all packages are installed")
	for _, unit := range services {
		enabled, _ := s.Exec("systemctl", "is-enabled", unit) // exits with 1 if disabled
		active, _ := s.Exec("systemctl", "is-active", unit)
		s.check(strings.TrimSpace(enabled) == "disabled" && strings.TrimSpace(active) == "inactive", "%s is neither enabled nor active", unit)
	}
	access := s.do("stat", "--format", "%U:%G %a", "/etc/palisade/front", filepath.Dir(policyFile), policyFile)
	s.check(access == "root:palisade-authz 2750\nroot:palisade-authz 2750\nroot:palisade-authz 640\n", "fronts may read their configuration and the policies")
}

// start enables and starts the services.
func (s *story) start() {
	s.file("/etc/default/lxcfs", "LXCFS_OPTIONS=--log-level debug\n")
	s.do("systemctl", "enable", "--now", "lxcfs", "authz-broker")
	s.servicesRun()
	s.do("lxcfs-toolkit", "check-lxcfs")
	s.check(strings.Contains(s.ReadFile("/proc/1/mountinfo"), " /var/lib/lxc/lxcfs "), "lxcfs is mounted in the mount namespace of the host")
	s.check(strings.Contains(s.ReadFile("/proc/"+s.mainPID("lxcfs")+"/cmdline"), "\x00--log-level\x00debug\x00"), "lxcfs has the options of `/etc/default/lxcfs`")
	s.do("journalctl", "--sync")
	log := s.do("journalctl", "-u", "authz-broker", "-o", "cat", "--no-pager")
	s.check(strings.Contains(log, "the policy file is the unchanged default"), "authz-broker warns of the policies as installed")
	s.checkDefaultPolicy()
}

// servicesRun checks that all services are active.
func (s *story) servicesRun() {
	for _, unit := range append(services, "authz.service") {
		_, err := s.Exec("systemctl", "is-active", "--quiet", unit)
		s.check(err == nil, "%s is active", unit)
	}
}

// mainPID returns the main process of a unit.
func (s *story) mainPID(unit string) string {
	s.Helper()
	out, err := s.Exec("systemctl", "show", "--property", "MainPID", "--value", unit)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(out)
}

const (
	policies = `{"name":"operators","users":["alice"],"actions":[""]}
{"name":"watchers","users":["bob"],"actions":["container","docker_"],"readonly":true}
`
	// dockerdUnit makes dockerd listen only where its configuration says.
	dockerdUnit = `[Service]
ExecStart=
ExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock
`
	policyFile    = "/var/lib/authz-broker/policy.json"
	hookspec      = "/var/lib/isulad/hooks/hookspec.json"
	userRemap     = "100000:100000:65535"
	daemonWithout = `{
  "hosts": ["fd://", "tcp://127.0.0.1:2376"],
  "tlsverify": true,
  "tlscacert": "/etc/docker/certs/ca.pem",
  "tlscert": "/etc/docker/certs/server-cert.pem",
  "tlskey": "/etc/docker/certs/server-key.pem",
  "storage-driver": "vfs",
  "bridge": "none", "iptables": false, "ip-masq": false
}
`
	daemonWith = `,
  "authorization-plugins": ["authz-broker"],
  "runtimes": {
    "palisade": {
      "path": "/usr/bin/lxcfs-toolkit",
      "runtimeArgs": ["runtime", "--hook-spec", "` + hookspec + `", "--annotation", "palisade.user-remap=` + userRemap + `",
                      "--runtime", "/usr/bin/userns-shift-runc", "--"]
    }
  }
}
`
)

// wire creates certificates and policies, and configures Docker to use everything.
func (s *story) wire() {
	s.do("authz-broker", "certs", "--dir", "/etc/docker/certs", "--server", "localhost", "--server", "127.0.0.1", "--client", "alice", "--client", "bob")
	s.file(policyFile, policies)
	s.do("authz-broker", "check")
	s.file("/etc/docker/daemon.json", strings.TrimSuffix(daemonWithout, "\n}\n")+daemonWith)
	s.file("/etc/systemd/system/docker.service.d/palisade.conf", dockerdUnit)
	s.do("systemctl", "daemon-reload")
	s.do("systemctl", "enable", "--now", "docker")
	s.waitFor("authz-broker has read the policies", func() bool {
		_, err := s.Exec(append(dockerAs("alice"), "version")...)
		return err == nil
	})
	s.check(strings.Contains(s.docker("alice", "info", "--format", "{{json .Plugins.Authorization}}"), "authz-broker"), "dockerd asks authz-broker")
}

// docker runs Docker's client as a user with a certificate. It must succeed.
func (s *story) docker(user string, args ...string) string {
	s.Helper()
	return s.do(append(dockerAs(user), args...)...)
}

func dockerAs(user string) []string {
	return []string{"env", "DOCKER_HOST=tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/etc/docker/certs/" + user, "docker"}
}
