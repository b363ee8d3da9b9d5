package layers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
	"palisade/internal/userns/idmount"
)

// waitUnused waits until no overlay of this machine uses the upper layer, in any mount namespace.
func (o *Overlay) waitUnused(ctx context.Context, scratch string) error {
	err := o.whileBusy(ctx, func() error { return o.checkUnused(scratch) })
	if !sys.IsBusy(err) {
		return err
	}
	holder := "a process that holds it open, or a mount that is not attached"
	if pid := o.findHolder(); pid != 0 {
		holder = fmt.Sprintf("the mount namespace of process %d (restart that)", pid)
	}
	return fmt.Errorf("upper layer %s is also in use by another overlay mount, in %s: %w",
		o.Upper, holder, err)
}

// checkUnused fails with EBUSY if an overlay uses the upper layer. The kernel checks that for the
// lower layers of an overlay with an index, whose upper layer is in memory here.
func (o *Overlay) checkUnused(scratch string) error {
	return o.inNamespace(scratch, func(dirs scratchDirs) error {
		options := fmt.Sprintf("index=on,lowerdir=%s,upperdir=%s,workdir=%s", o.Upper, dirs.upper,
			dirs.work)
		if err := sys.Mount(o.source, dirs.merged, "overlay", 0, options); err != nil {
			return err
		}
		// Without file handles, the kernel ignores index=on.
		if _, err := os.Stat(filepath.Join(dirs.work, "index")); err != nil {
			return fmt.Errorf("the kernel cannot check whether %s is in use: %w", o.Upper, err)
		}
		return nil
	})
}

// findHolder returns a process in a mount namespace with an overlay that has the upper layer, 0 if
// there is none.
func (o *Overlay) findHolder() int {
	pids, err := sys.ListNumbers("/proc")
	if err != nil {
		return 0
	}
	for _, pid := range pids {
		table, err := idmount.MountsOf("/proc/" + strconv.Itoa(pid))
		if err != nil {
			continue // it has ended
		}
		if slices.ContainsFunc(table, func(m *mountinfo.Info) bool {
			return m.FSType == "overlay" && slices.Contains(idmount.OverlayLayers(m), o.Upper)
		}) {
			return pid
		}
	}
	return 0
}
