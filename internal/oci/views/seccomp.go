package views

import (
	"errors"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// metadataPrefix is the beginning of the listenerMetadata that Calls sets.
const metadataPrefix = "palisade "

// architectures are those of the programs that run on a machine. A filter without one of them would
// kill its programs.
var architectures = map[string][]specs.Arch{
	"amd64":   {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
	"arm64":   {specs.ArchAARCH64, specs.ArchARM},
	"riscv64": {specs.ArchRISCV64},
	"loong64": {specs.ArchLOONGARCH64},
}

// callNames returns the system calls of the views.
func (s *Set) callNames() (names []string) {
	if s.Sysinfo {
		names = append(names, "sysinfo")
	}
	if s.Affinity {
		names = append(names, "sched_getaffinity")
	}
	return names
}

func addCalls(spec *specs.Spec, wanted Set, socket func() (string, error)) error {
	if spec.Linux == nil {
		return errors.New("the configuration is not for Linux")
	}
	path, err := socket()
	if err != nil {
		return err
	}
	return Calls(spec.Linux, wanted.callNames(), path)
}

// Calls makes the filter of a container pass the system calls on to the process that listens to the
// socket. A container without a filter gets one that allows all other calls. A call that the filter
// denies, or allows only with some arguments, stays so.
func Calls(linux *specs.Linux, names []string, socket string) error {
	old := linux.Seccomp
	if old == nil {
		archs, ok := architectures[runtime.GOARCH]
		if !ok {
			return errors.New("a seccomp filter for " + runtime.GOARCH + " is not supported")
		}
		old = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: archs}
	}
	notifies := func(s specs.LinuxSyscall) bool { return s.Action == specs.ActNotify }
	if old.ListenerPath != "" || old.DefaultAction == specs.ActNotify ||
		slices.ContainsFunc(old.Syscalls, notifies) {
		return errors.New("the seccomp profile already has a listener, and the kernel allows one")
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !isAllowed(old, name)
	})
	if len(names) == 0 {
		return Skipped("the seccomp profile denies the system calls, or restricts their arguments")
	}
	profile := *old
	profile.Syscalls = nil
	for _, rule := range old.Syscalls {
		rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(name string) bool {
			return slices.Contains(names, name)
		})
		if len(rule.Names) > 0 {
			profile.Syscalls = append(profile.Syscalls, rule)
		}
	}
	profile.Syscalls = append(profile.Syscalls,
		specs.LinuxSyscall{Names: names, Action: specs.ActNotify})
	profile.ListenerPath = socket
	profile.ListenerMetadata = metadataPrefix + strings.Join(names, ",")
	linux.Seccomp = &profile
	return nil
}

// isAllowed reports whether the filter allows the system call with all arguments.
func isAllowed(profile *specs.LinuxSeccomp, name string) bool {
	executes := func(a specs.LinuxSeccompAction) bool {
		return a == specs.ActAllow || a == specs.ActLog
	}
	isListed := false
	for _, rule := range profile.Syscalls {
		if slices.Contains(rule.Names, name) {
			if !executes(rule.Action) || len(rule.Args) > 0 {
				return false
			}
			isListed = true
		}
	}
	return isListed || executes(profile.DefaultAction)
}

// undoCalls lets the kernel execute the calls of an earlier Calls.
func undoCalls(spec *specs.Spec) {
	if spec.Linux == nil || spec.Linux.Seccomp == nil ||
		!strings.HasPrefix(spec.Linux.Seccomp.ListenerMetadata, metadataPrefix) {
		return
	}
	profile := spec.Linux.Seccomp
	profile.ListenerPath, profile.ListenerMetadata = "", ""
	for i := range profile.Syscalls {
		if profile.Syscalls[i].Action == specs.ActNotify {
			profile.Syscalls[i].Action = specs.ActAllow
		}
	}
}
