package ctr

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// MountDir is the path of the whole tree of lxcfs in a container.
const MountDir = "/var/lib/lxc/lxcfs"

// bindable lists the files that runtimes let a configuration mount in /proc; others need a hook.
var bindable = []string{"cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"}

// WriteConfig writes the config.json of the container id into its bundle.
func (o *Options) WriteConfig(bundle, id string) error {
	config, err := json.MarshalIndent(o.config(id), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600)
}

// config returns the container's config.json.
func (o *Options) config(id string) *specs.Spec {
	args := o.Args
	if args == nil {
		args = []string{"/bin/sleep", "1000000"}
	}
	cgroup := o.Cgroup
	if cgroup == "" {
		cgroup = "/" + id
	}
	s := &specs.Spec{
		Version:  "1.0.2",
		Hostname: "container",
		Root:     &specs.Root{Path: o.Rootfs, Readonly: o.ReadOnly},
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin:/usr/bin", "TERM=dumb"}, Capabilities: o.capabilities(),
		},
		Mounts: append(defaultMounts(), o.Mounts...),
		Linux: &specs.Linux{
			CgroupsPath: cgroup, Resources: o.resources(), Namespaces: o.namespaces(), Devices: o.Devices,
			MaskedPaths: o.Masked, ReadonlyPaths: o.ReadOnlyPaths, Seccomp: o.Seccomp,
		},
	}
	if o.UserOffset != 0 {
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: o.UserOffset, Size: 65536}}
		s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	}
	if o.Lxcfs != "" {
		s.Mounts = append(s.Mounts, lxcfsMounts(o.Lxcfs)...)
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{partitionsHook(o.Lxcfs, o.Rootfs)}}
	}
	if o.Hooks != nil {
		s.Hooks = o.Hooks
	}
	return s
}

func (o *Options) resources() *specs.LinuxResources {
	r := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}},
		Memory:  &specs.LinuxMemory{},
		CPU:     &specs.LinuxCPU{Cpus: o.CPUs, Mems: o.Nodes},
		BlockIO: o.BlockIO,
	}
	set := func(field **int64, n int64) {
		if n != 0 {
			*field = &n
		}
	}
	set(&r.Memory.Limit, o.Memory)
	set(&r.Memory.Swap, o.MemorySwap)
	set(&r.CPU.Quota, o.Quota)
	if o.Quota != 0 {
		period := uint64(o.Period)
		if period == 0 {
			period = 100000
		}
		r.CPU.Period = &period
	}
	return r
}

func (o *Options) namespaces() []specs.LinuxNamespace {
	namespaces := []specs.LinuxNamespace{
		{Type: specs.MountNamespace}, {Type: specs.UTSNamespace}, {Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace},
	}
	switch {
	case o.HostPID:
	case o.JoinPID != 0:
		path := filepath.Join("/proc", itoa(o.JoinPID), "ns/pid")
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: path})
	default:
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if o.CgroupNamespace {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	if o.UserOffset != 0 {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	return namespaces
}

func defaultMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777"}},
	}
}

// lxcfsMounts returns mounts of the whole tree of lxcfs, and of the files that a configuration can
// mount over those of the kernel.
func lxcfsMounts(lxcfs string) []specs.Mount {
	bind := func(source, destination string) specs.Mount {
		return specs.Mount{Destination: destination, Type: "bind", Source: source,
			Options: []string{"rbind", "rslave", "nosuid", "nodev"}}
	}
	mounts := []specs.Mount{bind(lxcfs, MountDir)}
	for _, dir := range []string{"/sys/devices/system/cpu", "/sys/devices/system/node"} {
		if _, err := os.Stat(dir); err == nil { // there is no node without NUMA
			mounts = append(mounts, bind(lxcfs+dir, dir))
		}
	}
	for _, name := range bindable {
		if _, err := os.Stat(filepath.Join("/proc", name)); err == nil {
			mounts = append(mounts, bind(lxcfs+"/proc/"+name, "/proc/"+name))
		}
	}
	return mounts
}

// partitionsHook mounts the files that runtimes do not let a configuration mount. At createRuntime
// the container's mounts exist below the host's path of its root.
func partitionsHook(lxcfs, rootfs string) specs.Hook {
	script := `pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/')
for f in partitions pressure vmstat; do
	[ ! -e LXCFS/proc/$f ] || nsenter -t $pid -m mount -o bind LXCFS/proc/$f ROOTFS/proc/$f
done`
	script = strings.NewReplacer("LXCFS", lxcfs, "ROOTFS", rootfs).Replace(script)
	return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-ec", script}, Env: []string{"PATH=" + os.Getenv("PATH")}}
}

func (o *Options) capabilities() *specs.LinuxCapabilities {
	all := append([]string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_ADMIN",
	}, o.Capabilities...)
	return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
}
