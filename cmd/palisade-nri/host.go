package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"palisade/internal/linux/sys"
)

// keptVariable has the descriptor of the directory of this program in its image, for the process
// that enterHost executes.
const keptVariable = "PALISADE_NRI_IMAGE"

// enterHost executes this program again in the mount namespace of process 1, unless it is there
// already. own is the directory of this program, which the host may not have. It returns a path of
// that directory for this process.
func enterHost(own string) (programs string, err error) {
	if kept := os.Getenv(keptVariable); kept != "" {
		os.Unsetenv(keptVariable)
		fd, err := strconv.Atoi(kept)
		if err != nil {
			return "", fmt.Errorf("%s is %q: want a number", keptVariable, kept)
		}
		// The kernel has named this process after the path that was executed.
		if err := sys.NameProcess("palisade-nri"); err != nil {
			return "", err
		}
		dir, err := sys.KeptFile(fd)
		if err != nil {
			return "", err
		}
		return dir.Path(), nil
	}
	pod, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return "", err
	}
	host, err := os.Readlink("/proc/1/ns/mnt")
	switch {
	case os.Getpid() == 1:
		return "", errors.New("process 1 is this program: its pod needs hostPID: true")
	case err != nil:
		return "", fmt.Errorf("find the host's mount namespace: %w", err)
	case pod == host:
		return own, nil
	}
	dir, err := sys.OpenDir(own)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	ns, err := sys.Open("/proc/1/ns/mnt")
	if err != nil {
		return "", err
	}
	defer ns.Close()
	env := append(os.Environ(), keptVariable+"="+strconv.Itoa(dir.Fd()))
	err = sys.ExecInMountNamespace(ns, os.Args, env, dir)
	return "", fmt.Errorf("enter the host's mount namespace: %w", err)
}
