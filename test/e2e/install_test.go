//go:build integration

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// packages are the names of all.
var packages = []string{"palisade-lxcfs", "palisade-lxcfs-toolkit", "palisade-tools", "palisade-lxc", "palisade-userns-shift", "palisade-authz-broker"}

// services are the units that an operator knows.
var services = []string{"lxcfs.service", "authz-broker.service", "authz-broker.socket"}

// packager installs and removes packages of a kind.
type packager struct {
	kind               string
	installer, remover []string
	// kept are files that stay where packages with policies of the operator's are removed.
	kept []string
}

var (
	// rpm's database does not know what is in this machine's /usr.
	debs = packager{"deb", []string{"dpkg", "-i"}, []string{"dpkg", "-r"},
		[]string{policyFile, hookspec, "/var/lib/lcrd/hooks/hookspec.json", shiftKey}}
	rpms = packager{"rpm", []string{"rpm", "-U", "--nodeps"}, []string{"rpm", "-e"},
		append([]string{policyFile + ".rpmsave", shiftKey}, othersDirectories...)}
	// Other packages have these, on machines where rpm has installed all.
	othersDirectories = []string{"/usr/share/licenses", "/usr/share/zsh/site-functions", "/var/lib/isulad", "/var/lib/lcrd"}
)

// shiftKey is kept on removal, so that records of shifted trees stay valid.
const shiftKey = "/var/lib/userns-shift/key"

// bootFirst boots the machine, which knows no package yet.
func (s *story) bootFirst() {
	if err := s.boot(); err != nil {
		s.Fatal(err)
	}
	s.before = s.tree()
	s.directory = filepath.Join(shared.packages, s.kind+"s")
	if strings.HasPrefix(s.directory, "/usr/") { // the machine has them
		return
	}
	if err := os.CopyFS(s.path("/srv/packages"), os.DirFS(s.directory)); err != nil {
		s.Fatal(err)
	}
	s.directory = "/srv/packages"
}

// add installs the packages of a version.
func (s *story) add(version string, count int) string {
	s.Helper()
	found, err := filepath.Glob(s.path(filepath.Join(s.directory, version, "*."+s.kind)))
	if err != nil || len(found) != count {
		s.Fatalf("%q, %v", found, err)
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
	s.see(strings.Count(out, "ii ") == len(packages), "all packages are installed")
	for _, unit := range services {
		enabled, _ := s.run("systemctl", "is-enabled", unit) // the exit code says the same
		active, _ := s.run("systemctl", "is-active", unit)
		s.see(strings.TrimSpace(enabled) == "disabled" && strings.TrimSpace(active) == "inactive", "%s is neither enabled nor active", unit)
	}
}

// start enables and starts the services.
func (s *story) start() {
	s.file("/etc/default/lxcfs", "LXCFS_OPTIONS=--log-level debug\n")
	s.do("systemctl", "enable", "--now", "lxcfs", "authz-broker")
	s.servicesRun()
	s.do("lxcfs-toolkit", "check-lxcfs")
	s.see(strings.Contains(s.read("/proc/1/mountinfo"), " /var/lib/lxc/lxcfs "), "lxcfs is mounted in the mount namespace of the host")
	s.see(strings.Contains(s.read("/proc/"+s.mainPID("lxcfs")+"/cmdline"), "\x00--log-level\x00debug\x00"), "lxcfs has the options of `/etc/default/lxcfs`")
	s.do("journalctl", "--sync")
	log := s.do("journalctl", "-u", "authz-broker", "-o", "cat", "--no-pager")
	s.see(strings.Contains(log, "the policy file is the unchanged default"), "authz-broker warns of the policies as installed")
	s.checkDefaultPolicy()
}

// servicesRun makes sure that all services do.
func (s *story) servicesRun() {
	for _, unit := range append(services, "authz.service") {
		_, err := s.run("systemctl", "is-active", "--quiet", unit)
		s.see(err == nil, "%s is active", unit)
	}
}

// mainPID is the process of a unit.
func (s *story) mainPID(unit string) string {
	s.Helper()
	out, err := s.run("systemctl", "show", "--property", "MainPID", "--value", unit)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(out)
}

const (
	policies = `{"name":"operators","users":["alice"],"actions":[""]}
{"name":"watchers","users":["bob"],"actions":["container","docker_"],"readonly":true}
`
	// dockerdUnit has dockerd listen where its configuration says.
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

// wire makes certificates and policies, and has Docker use all of it.
func (s *story) wire() {
	s.do("authz-broker", "certs", "--dir", "/etc/docker/certs", "--server", "localhost", "--server", "127.0.0.1", "--client", "alice", "--client", "bob")
	s.file(policyFile, policies)
	s.do("authz-broker", "check")
	s.file("/etc/docker/daemon.json", strings.TrimSuffix(daemonWithout, "\n}\n")+daemonWith)
	s.file("/etc/systemd/system/docker.service.d/palisade.conf", dockerdUnit)
	s.do("systemctl", "daemon-reload")
	s.do("systemctl", "enable", "--now", "docker")
	s.see(strings.Contains(s.docker("alice", "info", "--format", "{{json .Plugins.Authorization}}"), "authz-broker"), "dockerd asks authz-broker")
}

// docker runs Docker's client as a user with a certificate, which has to succeed.
func (s *story) docker(user string, args ...string) string {
	s.Helper()
	return s.do(append(dockerAs(user), args...)...)
}

func dockerAs(user string) []string {
	return []string{"env", "DOCKER_HOST=tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/etc/docker/certs/" + user, "docker"}
}
