package views

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// offsetAnnotation records the offset in seconds that Time has set.
const offsetAnnotation = "palisade.boot-offset"

// bootClock is the key of CLOCK_BOOTTIME in linux.timeOffsets.
const bootClock = "boottime"

func addTime(spec *specs.Spec, runtime func() (*features.Features, error)) error {
	if err := suitsTime(spec); err != nil {
		return err
	}
	now, err := sinceHostBoot()
	if err != nil {
		return err
	}
	f, err := runtime()
	if err != nil {
		return err
	}
	if err := supportsTime(f, namespaceOf(spec, specs.UserNamespace) != nil); err != nil {
		return err
	}
	return Time(spec, now)
}

// Time gives the container a time namespace in which CLOCK_BOOTTIME began less than a second before
// now, which is the host's clock. The kernel counts offsets from the host's clock also in nested
// containers. They are whole seconds, so that the times of boot in /proc/stat are exact.
func Time(spec *specs.Spec, now time.Duration) error {
	if err := suitsTime(spec); err != nil {
		return err
	}
	offset := -int64(now / time.Second)
	linux := spec.Linux
	linux.Namespaces = append(linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	linux.TimeOffsets = map[string]specs.LinuxTimeOffset{bootClock: {Secs: offset}}
	if spec.Annotations == nil {
		spec.Annotations = make(map[string]string)
	}
	spec.Annotations[offsetAnnotation] = strconv.FormatInt(offset, 10)
	return nil
}

// suitsTime returns why a container keeps its clocks, or nil. Processes that share a pid namespace
// see each other's start times, and so must share the clock.
func suitsTime(spec *specs.Spec) error {
	pid := namespaceOf(spec, specs.PIDNamespace)
	switch {
	case pid == nil:
		return Skipped("the container shares the pid namespace of the host")
	case pid.Path != "":
		return Skipped("the container shares the pid namespace " + pid.Path)
	case namespaceOf(spec, specs.TimeNamespace) != nil || len(spec.Linux.TimeOffsets) > 0:
		return Skipped("the configuration has a time namespace or timeOffsets")
	}
	return nil
}

// undoTime removes what Time has added, unless it was changed since.
func undoTime(spec *specs.Spec) {
	recorded, ok := spec.Annotations[offsetAnnotation]
	if !ok || spec.Linux == nil {
		return
	}
	linux := spec.Linux
	offset := linux.TimeOffsets[bootClock]
	added := slices.IndexFunc(linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n == specs.LinuxNamespace{Type: specs.TimeNamespace}
	})
	if added < 0 || len(linux.TimeOffsets) != 1 || offset.Nanosecs != 0 ||
		recorded != strconv.FormatInt(offset.Secs, 10) {
		return
	}
	linux.Namespaces = slices.Delete(linux.Namespaces, added, added+1)
	linux.TimeOffsets = nil
	delete(spec.Annotations, offsetAnnotation)
}

func namespaceOf(spec *specs.Spec, kind specs.LinuxNamespaceType) *specs.LinuxNamespace {
	if spec.Linux == nil {
		return nil
	}
	for i, n := range spec.Linux.Namespaces {
		if n.Type == kind {
			return &spec.Linux.Namespaces[i]
		}
	}
	return nil
}

// sinceHostBoot returns CLOCK_BOOTTIME of the initial time namespace: this process may be in a
// container with a time namespace.
func sinceHostBoot() (time.Duration, error) {
	self, err := sys.OpenDir("/proc/self")
	if err != nil {
		return 0, err
	}
	defer self.Close()
	offset, err := procfs.ReadBootOffset(self)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errors.New("the kernel has no time namespaces: want Linux 5.6 with CONFIG_TIME_NS")
	}
	return sys.SinceBoot() - offset, err
}

// Annotations of features in which runtimes write their version.
const (
	crunVersion = "run.oci.crun.version"
	runcVersion = "org.opencontainers.runc.version"
)

// supportsTime returns an error unless the runtime can start a container with a time namespace, and
// execute programs in it.
func supportsTime(f *features.Features, hasUserNamespace bool) error {
	// crun 1.8.4 knows time namespaces, and 1.8.6 the command features, but 1.28 does not list them.
	if version, ok := f.Annotations[crunVersion]; ok {
		if hasUserNamespace { // it may not open /proc/self/timens_offsets, which belongs to root
			return fmt.Errorf("crun %s cannot set timeOffsets in a user namespace", version)
		}
		return nil
	}
	if f.Linux == nil || !slices.Contains(f.Linux.Namespaces, string(specs.TimeNamespace)) {
		return errors.New("time namespaces are not supported: " +
			"want runc 1.2.6, crun 1.8.6 or a later version")
	}
	// Until 1.2.5, runc exec fails in a time namespace (opencontainers/runc#4635).
	version := f.Annotations[runcVersion]
	var patch int
	if n, _ := fmt.Sscanf(version, "1.2.%d", &patch); n == 1 && patch < 6 {
		return fmt.Errorf("runc %s cannot execute programs in a time namespace: "+
			"want 1.2.6 or a later version", version)
	}
	return nil
}
