package sys

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// NamedFile is a passed file and its name (sd_listen_fds_with_names(3)).
type NamedFile struct {
	Name string
	File File
}

// firstPassed is SD_LISTEN_FDS_START of sd-daemon.h.
const firstPassed = 3

// PassedFiles returns the files that the parent or the service manager passed at the start
// (sd_listen_fds_with_names(3)), and removes the variables from the environment. With anyPID,
// LISTEN_PID may be missing: a parent that forks does not know the pid.
func PassedFiles(anyPID bool) ([]NamedFile, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	if count == "" || !anyPID && pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n != len(names) {
		return nil, fmt.Errorf("LISTEN_FDS is %q, but LISTEN_FDNAMES has %d names",
			count, len(names))
	}
	var files []NamedFile
	for i, name := range names {
		unix.CloseOnExec(firstPassed + i)
		files = append(files, NamedFile{name, File{firstPassed + i + 1}})
	}
	return files, nil
}

// StoreFiles stores files in the service manager under one name (sd_notify(3), FDSTORE=1), which
// passes them to the service's next process. Without a service manager it does nothing.
func StoreFiles(name string, files ...File) error {
	// FDPOLL=0, because the manager would drop a FUSE device as soon as its connection ends. The
	// next process needs it to find that out.
	return storeFiles("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, files)
}

// StoreUntilHangup is like StoreFiles for a file that the manager drops when it hangs up (POLLHUP).
func StoreUntilHangup(name string, file File) error {
	return storeFiles("FDSTORE=1\nFDNAME="+name, []File{file})
}

func storeFiles(message string, files []File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	return notifyManager(message, unix.UnixRights(fds...))
}

// RemoveStoredFiles removes the files of that name from the service manager's store.
func RemoveStoredFiles(name string) error {
	return notifyManager("FDSTOREREMOVE=1\nFDNAME="+name, nil)
}

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

// Notification is a message of sd_notify(3), with the sender's pid from the kernel.
type Notification struct {
	PID  int
	Text string
}

// ReceiveNotifications listens at path, a NOTIFY_SOCKET for child processes, and returns a channel
// of what they send. The channel is never closed.
func ReceiveNotifications(path string) (<-chan Notification, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	err = control(conn, "setsockopt SO_PASSCRED", func(fd uintptr) error {
		return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	received := make(chan Notification)
	go func() {
		text := make([]byte, 4096)
		// Without room for SCM_RIGHTS, the kernel drops passed descriptors. Nothing would close
		// them.
		rights := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
		for {
			n, rightsSize, _, _, err := conn.ReadMsgUnix(text, rights)
			if err != nil {
				return
			}
			if pid := senderPID(rights[:rightsSize]); pid != 0 {
				received <- Notification{pid, string(text[:n])}
			}
		}
	}()
	return received, nil
}

func senderPID(rights []byte) int {
	messages, _ := unix.ParseSocketControlMessage(rights) // nil if malformed
	for i := range messages {
		if credentials, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return int(credentials.Pid)
		}
	}
	return 0
}
