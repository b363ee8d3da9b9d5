//go:build integration

package e2e

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"palisade/test/engine"
)

// contents has patterns of the files in a container with 64 MiB and one CPU.
var contents = map[string]string{
	"proc/meminfo":                       `^MemTotal: +65536 kB\nMemFree: +\d+ kB\nMemAvailable: +\d{1,5} kB\n`,
	"proc/cpuinfo":                       `^processor\t*: 0\n[^\n]`,
	"proc/stat":                          `^cpu  [\d ]+\ncpu0 [\d ]+\nintr `,
	"proc/uptime":                        `^\d+\.\d\d \d+\.\d\d\n$`,
	"proc/swaps":                         `^Filename\t\t\t\tType\t\tSize\t+Used\t+Priority\n(none +virtual\t.*\n)?$`,
	"proc/diskstats":                     `^$|^ +\d+ +\d+ sda( \d+){11,17}\n$`,
	"proc/partitions":                    `^major minor  #blocks  name\n\n( +\d+ +\d+ +\d+ sda\n)?$`,
	"proc/loadavg":                       `^\d+\.\d\d \d+\.\d\d \d+\.\d\d \d/\d{1,2} \d{1,2}\n$`,
	"proc/slabinfo":                      `^slabinfo - version: 2\.1\n`,
	"proc/vmstat":                        `^nr_free_pages 1\d{4}\n(.*\n)*pgfault [1-9]\d*\n`,
	"proc/pressure/":                     `^some avg10=\d+\.\d\d avg60=`,
	"sys/devices/system/cpu/online":      `^0\n$`,
	"sys/devices/system/cpu/present":     `^0\n$`,
	"sys/devices/system/cpu/cpu0/online": `^1\n$`,
	"sys/devices/system/cpu/offline":     `^1(-\d+)?\n$|^\n$`,
	"sys/devices/system/node/has_cpu":    `^0\n$`,
}

// otherCPU matches the files of CPUs that the container does not have.
var otherCPU = regexp.MustCompile(`^sys/devices/system/cpu/cpu[1-9]`)

// checkFiles reads each file that lxcfs serves in both containers.
func (s *story) checkFiles() {
	served := s.served()
	for _, g := range s.guests() {
		fmt.Fprintf(&s.now.text, "In %s:\n\n| file | begins with | |\n| --- | --- | --- |\n", g.name)
		texts := s.readAll(g, served)
		mounted := s.ReadFile("/proc/" + g.pid + "/mountinfo")
		for _, name := range served {
			fault := s.fault(name, texts, mounted, g)
			if name = "/" + name; fault != "" {
				s.now.failures++
				s.Errorf("%s: %s: %s, in %.300q", g.name, name, fault, texts[name[1:]])
			}
			if fault != "" || !strings.HasPrefix(name, "/sys/") || contents[name[1:]] != "" { // others are similar
				first, _, _ := strings.Cut(texts[name[1:]], "\n")
				fmt.Fprintf(&s.now.text, "| %s | `%.60s` | %s |\n", name, strings.ReplaceAll(first, "\t", " "), strings.ReplaceAll(fault, "|", "\\|"))
			}
		}
		s.now.text.WriteString("\n")
	}
}

// served returns the files that lxcfs serves, except status.
func (s *story) served() (names []string) {
	top := s.Path("/var/lib/lxc/lxcfs")
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if name := strings.TrimPrefix(path, top+"/"); err == nil && entry.Type().IsRegular() && name != "status" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	s.check(len(names) > 10, "lxcfs serves %d files", len(names))
	return names
}

// readAll reads files in a container.
func (s *story) readAll(g *guest, names []string) map[string]string {
	args := append(append([]string{}, g.exec...), "load", "print")
	for _, name := range names {
		args = append(args, "/"+name)
	}
	out, err := s.Exec(args...)
	if err != nil {
		s.Fatalf("%s: %v: %s", g.name, err, out)
	}
	texts := make(map[string]string)
	for _, part := range strings.Split("\n"+out, "\n=== ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		texts[strings.TrimPrefix(name, "/")] = text
	}
	return texts
}

// fault returns what is wrong with a file in a container, or "".
func (s *story) fault(name string, texts map[string]string, mounted string, g *guest) string {
	at := "/" + name
	if parts := strings.Split(name, "/"); parts[0] == "sys" {
		at = "/" + strings.Join(parts[:4], "/") // the directory cpu or node
	} else if strings.HasPrefix(name, "proc/pressure/") {
		at = "/proc/pressure"
	}
	if !regexp.MustCompile(" " + regexp.QuoteMeta(at) + "(/[a-z]+)? .* - fuse.lxcfs ").MatchString(mounted) {
		return "it is not a mount of lxcfs"
	}
	pattern, text := contents[name], texts[name]
	if strings.HasPrefix(name, "proc/pressure/") {
		pattern = contents["proc/pressure/"]
	}
	switch {
	case otherCPU.MatchString(name):
		if !strings.Contains(text, "no such file") {
			return "it exists for a CPU that the container does not have"
		}
	case pattern != "" && !regexp.MustCompile(pattern).MatchString(text):
		return "it does not match " + pattern
	case pattern == "" && strings.HasPrefix(name, "proc/"):
		return "no pattern for this file"
	case pattern == "" && strings.HasPrefix(text, "error: "):
		if info, err := os.Stat("/" + name); err == nil && info.Mode()&0o004 != 0 && isReadable("/"+name) {
			return "it cannot be read, but the host's can"
		}
	case name == "proc/cpuinfo" && strings.Count(text, "processor\t") != 1:
		return "it has other CPUs"
	case name == "proc/uptime":
		var up float64
		if fmt.Sscan(text, &up); up > time.Since(g.started).Seconds()+2 {
			return "the uptime exceeds the container's age"
		}
	}
	return ""
}

func isReadable(path string) bool {
	_, err := os.ReadFile(path)
	return err == nil
}

// checkOwners checks the ids of processes and files of the containers inside and on the host.
func (s *story) checkOwners() {
	for _, g := range s.guests() {
		status := s.ReadFile("/proc/" + g.pid + "/status")
		s.check(strings.Contains(status, "\nUid:\t"+firstID+"\t"+firstID+"\t") && strings.Contains(status, "\nGid:\t"+firstID+"\t"), "the init of %s is %s on the host", g.name, firstID)
		ids := strings.Join(strings.Fields(s.ReadFile("/proc/"+g.pid+"/uid_map")), " ")
		s.check(ids == "0 100000 65535", "its ids are mapped: %s", ids)
		const look = "echo mine >/root/made; stat -c %u /root/made /bin/busybox; id -u; { echo 1 >/proc/sys/kernel/panic; } 2>/dev/null || echo refused"
		inside := s.do(append(append([]string{}, g.exec...), "sh", "-c", look)...)
		s.check(strings.HasPrefix(inside, "0\n0\n0\n"), "new and existing files belong to root inside")
		s.check(strings.HasSuffix(inside, "refused\n"), "its root cannot change kernel parameters")
		outside, err := s.Exec("stat", "-c", "%u", g.inside("/root/made"), g.inside("/bin/busybox"))
		s.check(err == nil && outside == firstID+"\n"+firstID+"\n", "the files belong to %s on the host", firstID)
	}
}

// checkUsers checks requests of several users to dockerd.
func (s *story) checkUsers() {
	s.docker("bob", "ps", "--format", "{{.Names}} {{.Image}}")
	for _, refused := range [][]string{
		append(dockerAs("bob"), "stop", "web"), append(dockerAs("bob"), "run", "box", "true"), {"docker", "-H", "unix:///run/docker.sock", "ps"},
	} {
		out, err := s.try(refused...)
		s.check(err != nil && strings.Contains(out, "authorization denied by plugin authz-broker"), "it is refused by authz-broker")
	}
	out, err := s.try("env", "DOCKER_HOST=tcp://127.0.0.1:2376", "docker", "ps")
	s.check(err != nil, "a client without a certificate is refused: %s", strings.TrimSpace(out))
	s.do("journalctl", "--sync")
	log := s.do("sh", "-c", "journalctl -u authz-broker -o cat --no-pager | grep container_stop")
	s.check(strings.Contains(log, `"user":"bob"`) && strings.Contains(log, `"allow":false`), "the audit log has bob's refused request")
}

const frontUnit = "authz-front@docker.service"

// checkFront starts a front, which denies what no policy grants to root.
func (s *story) checkFront() {
	s.do("systemctl", "enable", "--now", frontUnit)
	out, err := s.try("docker", "-H", "unix:///run/authz-front/docker.sock", "ps")
	s.check(err != nil && strings.Contains(out, `user "unix:root" is listed in no policy`), "the front refuses root's request")
	owner := s.do("stat", "--format", "%U", "/proc/"+s.mainPID(frontUnit))
	s.check(owner == "palisade-authz\n", "the front is not root")
	status, _ := s.try("palisade", "status") // exits with 1 if there are problems
	s.check(strings.Contains(status, "docker: enabled, answers"), "palisade status has the front")
}

// checkDefaultPolicy checks decisions of the broker with the policies as installed.
func (s *story) checkDefaultPolicy() {
	for question, want := range map[string]string{
		`{"RequestMethod":"GET","RequestUri":"/info"}`:                                          `"Allow":true`,
		`{"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"GET","RequestUri":"/info"}`:   `"Allow":false`,
		`{"User":"root","UserAuthNMethod":"TLS","RequestMethod":"GET","RequestUri":"/version"}`: `"Allow":false`,
	} {
		s.check(strings.Contains(s.ask(question), want), "the broker answers %s with %s", question, want)
	}
}

// ask sends the broker a request as dockerd does, and returns the response.
func (s *story) ask(question string) string {
	socket := s.Path("/run/docker/plugins/authz-broker.sock")
	client := &http.Client{Timeout: engine.WaitTime, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Clean(socket))
	}}}
	defer client.CloseIdleConnections()
	r, err := client.Post("http://broker/AuthZPlugin.AuthZReq", "", strings.NewReader(question))
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
