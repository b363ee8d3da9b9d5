package ctr

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Keeper stands in for systemd with a service that has FileDescriptorStoreMax: it stores the files
// that the service sends, and passes them to the service's next process.
type Keeper struct {
	socket *net.UnixConn
	path   string

	// Ready receives a value when the service sends READY=1.
	Ready chan struct{}

	mu    sync.Mutex
	names []string
	files []*os.File
}

// NewKeeper starts a Keeper with its socket in dir.
func NewKeeper(dir string) (*Keeper, error) {
	k := &Keeper{path: filepath.Join(dir, "keeper"), Ready: make(chan struct{}, 16)}
	var err error
	if k.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: k.path, Net: "unixgram"}); err != nil {
		return nil, err
	}
	go k.receive()
	return k, nil
}

func (k *Keeper) receive() {
	text, rights := make([]byte, 4096), make([]byte, 4096)
	for {
		n, m, _, _, err := k.socket.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		name, stored, removed := "", false, false
		for line := range strings.Lines(string(text[:n])) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			stored = stored || key == "FDSTORE" && value == "1"
			removed = removed || key == "FDSTOREREMOVE" && value == "1"
			switch {
			case key == "FDNAME":
				name = value
			case key == "READY" && value == "1":
				select {
				case k.Ready <- struct{}{}:
				default: // drop it: no test waits for that many
				}
			}
		}
		if removed {
			k.remove(name)
		}
		messages, err := syscall.ParseSocketControlMessage(rights[:m])
		if err != nil || !stored {
			continue
		}
		for i := range messages {
			fds, err := syscall.ParseUnixRights(&messages[i])
			if err != nil {
				continue
			}
			k.mu.Lock()
			for _, fd := range fds {
				syscall.CloseOnExec(fd)
				k.names, k.files = append(k.names, name), append(k.files, os.NewFile(uintptr(fd), name))
			}
			k.mu.Unlock()
		}
	}
}

// remove closes the files with a name.
func (k *Keeper) remove(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := len(k.names) - 1; i >= 0; i-- {
		if k.names[i] == name {
			k.files[i].Close()
			k.names, k.files = slices.Delete(k.names, i, i+1), slices.Delete(k.files, i, i+1)
		}
	}
}

// Len returns the number of stored files.
func (k *Keeper) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.files)
}

// Start starts a daemon as StartDaemon does, with --keep-mount.
func (k *Keeper) Start(ctx context.Context, path, dir string, flags ...string) (*Daemon, error) {
	d, args, err := newDaemon(dir, append(flags, "--keep-mount"))
	if err != nil {
		return nil, err
	}
	d.cmd = k.Command(path, args...)
	return d, d.start(ctx)
}

// Command returns the command that starts the service's next process.
func (k *Keeper) Command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, path}, args...)...)
	k.mu.Lock()
	defer k.mu.Unlock()
	cmd.ExtraFiles = append(cmd.ExtraFiles, k.files...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+k.path)
	if len(k.files) > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(k.files)), "LISTEN_FDNAMES="+strings.Join(k.names, ":"))
	}
	return cmd
}

// Drop closes the files, as systemd does for a stopped service. This leaves a mount without a
// server dead.
func (k *Keeper) Drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		f.Close()
	}
	k.names, k.files = nil, nil
}

// Has reports whether a file with this name is stored.
func (k *Keeper) Has(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.names, name)
}

// Close closes the socket and the files.
func (k *Keeper) Close() {
	k.socket.Close()
	k.Drop()
}
