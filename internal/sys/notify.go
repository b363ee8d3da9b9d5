package sys

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// NamedFile is an open file with the name by which another process knows it (sd_listen_fds_with_names(3)).
type NamedFile struct {
	Name string
	File File
}

// firstPassed is SD_LISTEN_FDS_START of sd-daemon.h.
const firstPassed = 3

// PassedFiles are the files that this process was given at its start, as sd_listen_fds_with_names(3) has it. The
// environment forgets them. A process that knows its parent to pass files need not find its pid in LISTEN_PID.
func PassedFiles(anyPID bool) ([]NamedFile, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	if count == "" || !anyPID && pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n != len(names) {
		return nil, fmt.Errorf("LISTEN_FDS is %q with %d names", count, len(names))
	}
	var files []NamedFile
	for i, name := range names {
		unix.CloseOnExec(firstPassed + i)
		files = append(files, NamedFile{name, File{firstPassed + i + 1}})
	}
	return files, nil
}

// startWith starts a program, which is killed when the calling thread ends, and so with this process.
func startWith(program string, args, env []string, files []NamedFile) (*os.Process, error) {
	var names []string
	fds := []uintptr{0, 1, 2}
	for _, f := range files {
		names = append(names, f.Name)
		fds = append(fds, uintptr(f.File.Fd()))
	}
	pid, err := syscall.ForkExec(program, args, &syscall.ProcAttr{
		Env:   append(env, "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":")),
		Files: fds,
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: program, Err: err}
	}
	return os.FindProcess(pid)
}

// NameProcess sets the name of this process in ps(1) and top(1), the comm of its first thread.
func NameProcess(name string) error { return os.WriteFile("/proc/self/comm", []byte(name), 0) }

// StoreFiles stores files in the service manager under one name (sd_notify(3), FDSTORE=1), which
// passes them to the service's next process. Without a service manager it does nothing.
func StoreFiles(name string, files ...File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	// The manager is not to watch it: a device whose connection has ended is removed by the process that finds that out.
	return notifyManager("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, unix.UnixRights(fds...))
}

// RemoveStoredFiles has the service manager let go of the files that it keeps by that name.
func RemoveStoredFiles(name string) error { return notifyManager("FDSTOREREMOVE=1\nFDNAME="+name, nil) }

func notifyManager(message string, rights []byte) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	err = unix.Sendmsg(fd, []byte(message), rights, &unix.SockaddrUnix{Name: socket}, 0)
	return os.NewSyscallError("sendmsg NOTIFY_SOCKET", err)
}

// Pipe makes a pipe: what is written to w is read from r.
func Pipe() (r, w File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return File{}, File{}, os.NewSyscallError("pipe2", err)
	}
	return File{fds[0] + 1}, File{fds[1] + 1}, nil
}

// ReceiveNotifications makes a socket for NOTIFY_SOCKET at path, and returns what processes send to it, with their pids.
// The channel is never closed.
func ReceiveNotifications(path string) (<-chan Notification, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	received := make(chan Notification)
	go func() {
		text, rights := make([]byte, 4096), make([]byte, 256)
		for {
			n, rightsSize, _, _, err := conn.ReadMsgUnix(text, rights)
			if err != nil {
				return
			}
			if pid := senderOf(rights[:rightsSize]); pid != 0 {
				received <- Notification{pid, string(text[:n])}
			}
		}
	}()
	return received, nil
}

// Notification is what a process tells its manager (sd_notify(3)).
type Notification struct {
	PID  int
	Text string
}

func senderOf(rights []byte) int {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return 0
	}
	for i := range messages {
		if credentials, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return int(credentials.Pid)
		}
	}
	return 0
}
