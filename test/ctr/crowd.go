package ctr

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Crowd is a set of containers that are started without a runtime, a thousand within seconds. Each
// has pid and mount namespaces, cgroups (on v1 also a cgroup namespace), and a sleeping init.
type Crowd struct {
	parents []string // on v1 one in each hierarchy
	made    int
}

// Member is a container of a Crowd.
type Member struct {
	PID int
	// cgroups are those of the processes, tops those that Remove removes with all below them.
	cgroups, tops []string
	init          *exec.Cmd
	others        []*exec.Cmd
}

// NewCrowd creates the parent cgroups of the members.
func NewCrowd() (*Crowd, error) {
	roots := []string{"/sys/fs/cgroup"}
	if !OnV2() {
		var err error
		if roots, err = controllerRoots("memory", "cpu", "cpuacct", "cpuset", "pids"); err != nil {
			return nil, err
		}
	}
	c := new(Crowd)
	name := madeCgroup(fmt.Sprintf("palisade-crowd-%d-%d", os.Getpid(), time.Now().UnixNano()))
	for _, root := range roots {
		dir := filepath.Join(root, name)
		if err := MakeCgroup(dir); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.parents = append(c.parents, dir)
	}
	if err := passControllers(c.parents[0]); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// passControllers enables controllers for the children of a cgroup on v2.
func passControllers(dir string) error {
	if !OnV2() {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +cpu"), 0o644)
}

// controllerRoots returns the roots of the v1 hierarchies of the controllers, each once. As with a
// runtime, cgroups below them do not depend on this process's: lxcfs opens more files for deeper
// cgroups.
func controllerRoots(controllers ...string) (roots []string, err error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && slices.ContainsFunc(strings.Split(fields[1], ","), func(name string) bool {
			return slices.Contains(controllers, name)
		}) {
			roots = append(roots, filepath.Join("/sys/fs/cgroup", fields[1]))
		}
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("no hierarchy of %v in %q", controllers, text)
	}
	return roots, nil
}

// MakeCgroup creates a cgroup that processes can enter: a new one of v1's cpuset controller has no
// CPUs.
func MakeCgroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil || OnV2() {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Add starts a container.
func (c *Crowd) Add() (*Member, error) { return c.AddBelow(0) }

// AddBelow starts a container with the given number of cgroups between its own and the crowd's.
func (c *Crowd) AddBelow(between int) (*Member, error) {
	m := &Member{init: exec.Command("sleep", "1000000")}
	c.made++
	for _, parent := range c.parents {
		dir := filepath.Join(parent, strconv.Itoa(c.made))
		m.tops = append(m.tops, dir)
		err := MakeCgroup(dir)
		for range between {
			if err == nil {
				err = passControllers(dir)
			}
			if dir = filepath.Join(dir, "below"); err == nil {
				err = MakeCgroup(dir)
			}
		}
		if err != nil {
			return nil, errors.Join(err, m.Remove())
		}
		m.cgroups = append(m.cgroups, dir)
	}
	m.init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWCGROUP}
	if err := m.start(m.init); err != nil {
		return nil, errors.Join(err, m.Remove())
	}
	m.PID = m.init.Process.Pid
	return m, nil
}

// Run runs a program of the host as a process of the container, and returns its output.
func (m *Member) Run(name string, args ...string) (string, error) {
	cmd := m.command(name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := m.start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

func (m *Member) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(m.PID), "--pid", "--", name}, args...)...)
}

// Start starts a program of the host as a process of the container, and waits for its first line of
// output. Remove kills it.
func (m *Member) Start(name string, args ...string) error {
	cmd := m.command(name, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.start(cmd); err != nil {
		return err
	}
	m.others = append(m.others, cmd)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("%s: wait for a line: %w", name, err)
	}
	return nil
}

// start starts a program in the cgroups.
func (m *Member) start(cmd *exec.Cmd) error {
	if OnV2() {
		// A thread cannot enter alone. A new cgroup namespace would have this process's cgroup as root.
		dir, err := os.Open(m.cgroups[0])
		if err != nil {
			return err
		}
		defer dir.Close()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = new(syscall.SysProcAttr)
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		cmd.SysProcAttr.Cloneflags &^= syscall.CLONE_NEWCGROUP
	}
	return inOwnThread(func() error {
		if err := m.enter(); err != nil {
			return err
		}
		return cmd.Start()
	})
}

// inOwnThread runs do in a thread that ends afterwards, so not in the main thread.
func inOwnThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() != os.Getpid() {
			done <- do()
			return
		}
		err := inOwnThread(do)
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// enter moves this thread into the cgroups.
func (m *Member) enter() error {
	if OnV2() {
		return nil
	}
	for _, dir := range m.cgroups {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(syscall.Gettid())), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Remove kills the init and removes the cgroups.
func (m *Member) Remove() (err error) {
	if m.init.Process != nil {
		err = m.init.Process.Kill()
		m.init.Wait() // returns the signal
	}
	for _, cmd := range m.others { // killed with the init
		cmd.Wait()
	}
	return errors.Join(err, RemoveCgroups(m.tops...))
}

// Close removes the parent cgroups. The members must have been removed.
func (c *Crowd) Close() error { return RemoveCgroups(c.parents...) }

// RemoveCgroups removes cgroups with their descendants, and waits for their processes to exit. One
// that does not exist is no error.
func RemoveCgroups(dirs ...string) (err error) {
	deadline := time.Now().Add(commandTime)
	for _, dir := range dirs {
		err = errors.Join(err, removeCgroup(dir, deadline))
	}
	return err
}

func removeCgroup(dir string, deadline time.Time) error {
	for {
		err := os.Remove(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			return err
		}
		entries, _ := os.ReadDir(dir) // may be removed concurrently
		for _, entry := range entries {
			if entry.IsDir() {
				removeCgroup(filepath.Join(dir, entry.Name()), time.Time{}) // repeated below
			}
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}
