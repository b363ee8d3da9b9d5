package doctor

import (
	"context"
	"os"
	"syscall"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
)

// Feature is a feature that a kernel may lack.
type Feature int

// The features.
const (
	FuseClone Feature = iota
	OpenTree
	Pidfd
	Openat2
	IDMappedMounts
	UserNamespaces
)

// Host returns the World of this machine.
func Host(t *toolkit.Toolkit) *World {
	return &World{
		Root:       "/",
		Mountpoint: t.Mountpoint,
		Kernel:     askKernel,
		Probe: func(ctx context.Context, mountpoint string) (probe.Result, error) {
			return probe.Look(ctx, mountpoint, toolkit.ProbeTime)
		},
		List:          t.List,
		DockerVersion: engine.Version,
	}
}

// askKernel tries a feature, without lasting effects.
func askKernel(f Feature) error {
	switch f {
	case FuseClone:
		return sys.ProbeFuseClone("/dev/fuse")
	case OpenTree:
		return idmount.Probe("/", idmap.Pair{})
	case Pidfd:
		self, err := sys.OpenPidfd(os.Getpid())
		self.Close()
		return err
	case Openat2:
		return sys.ProbeOpenat2()
	case IDMappedMounts:
		ids := idmap.Map{{Container: 0, Host: 100000, Size: 65536}}
		return idmount.Probe("/var/lib", idmap.Pair{UID: ids, GID: ids})
	case UserNamespaces:
		root := []syscall.SysProcIDMap{{Size: 1}}
		ns, err := sys.NewUserNamespace(root, root)
		ns.Close()
		return err
	}
	return nil
}
