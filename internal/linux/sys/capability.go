package sys

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Capabilities for NewSpawner (capabilities(7)).
const (
	CapDACOverride   = unix.CAP_DAC_OVERRIDE
	CapDACReadSearch = unix.CAP_DAC_READ_SEARCH
	CapSysPtrace     = unix.CAP_SYS_PTRACE
	CapSysAdmin      = unix.CAP_SYS_ADMIN
)

// effectiveCapabilities returns the effective capability set of the calling thread.
func effectiveCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var own [2]unix.CapUserData
	if err := unix.Capget(&header, &own[0]); err != nil {
		return 0, os.NewSyscallError("capget", err)
	}
	return uint64(own[1].Effective)<<32 | uint64(own[0].Effective), nil
}

// MissingCapabilities returns the names of the capabilities that a change of the ownership of a
// tree needs, and this process does not have.
func MissingCapabilities() ([]string, error) {
	own, err := effectiveCapabilities()
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, c := range []struct {
		number int
		name   string
	}{
		{unix.CAP_CHOWN, "CAP_CHOWN"},
		{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
		{unix.CAP_FOWNER, "CAP_FOWNER"},
		{unix.CAP_FSETID, "CAP_FSETID"},
		{unix.CAP_SETFCAP, "CAP_SETFCAP"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
	} {
		if own&(1<<c.number) == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing, nil
}

// restrictThread sets no_new_privs, and drops all capabilities but those in keep from the bounding
// set of the calling thread.
func restrictThread(keep []int) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	own, err := effectiveCapabilities()
	if err != nil {
		return err
	}
	if own&(1<<unix.CAP_SETPCAP) == 0 {
		return nil // PR_CAPBSET_DROP is not permitted
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if slices.Contains(keep, c) {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if err != nil && err != unix.EINVAL { // unknown to this kernel
			err = os.NewSyscallError("prctl PR_CAPBSET_DROP", err)
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}
