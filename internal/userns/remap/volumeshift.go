package remap

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/shift"
)

// shift shifts a volume and the mounts that it includes, or only checks them.
func (m *mounts) shift(ctx context.Context, x *volume, isCheck bool) error {
	host, err := os.Readlink(x.file.Path())
	if err == nil && host != filepath.Clean(x.mount.Source) {
		return shift.Problems{{
			Text: fmt.Sprintf("volume %s: %s leads to %s by a symbolic link", x.mount.Destination,
				x.mount.Source, host),
			Remedy: "name that",
		}}
	}
	if err != nil {
		return err
	}
	paths := []string{host}
	if hasAny(x.mount.Options, "rbind") {
		points, err := idmount.Submounts(x.file)
		if err != nil {
			return err
		}
		paths = append(paths, points...)
	}
	for _, path := range paths {
		if err := m.r.shiftPath(ctx, path, m.pair, isCheck); err != nil {
			return fmt.Errorf("volume %s: %w", x.mount.Destination, err)
		}
	}
	return nil
}

// shiftPath shifts a directory or a single file.
func (r *Remapper) shiftPath(
	ctx context.Context, path string, pair idmap.Pair, isCheck bool,
) error {
	file, err := sys.OpenPath(path)
	if err != nil {
		return err
	}
	defer file.Close()
	inode, err := file.Statx()
	if err != nil {
		return err
	}
	if inode.IsDir() && !isEmpty(path) {
		o := r.Options
		o.DryRun = isCheck
		return r.shiftOrCheck(ctx, path, pair, o)
	}
	return shiftSingle(file, path, &inode, pair, isCheck)
}

func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}

// shiftSingle changes the owner of a file, or of an empty directory. There is no record of that.
func shiftSingle(
	file sys.File, path string, inode *sys.Inode, pair idmap.Pair, isCheck bool,
) error {
	change := idmap.Change{To: pair}
	total := change.Total()
	uid, kind := total.UID.To(inode.UID)
	gid, groupKind := total.GID.To(inode.GID)
	caps, err := file.Attr("security.capability")
	if err != nil {
		return err
	}
	var p shift.Problems
	switch {
	case kind == idmap.Unmapped || groupKind == idmap.Unmapped:
		p = shift.Problems{{Text: fmt.Sprintf("%s belongs to %d:%d, which is not mapped", path,
			inode.UID, inode.GID), Remedy: "chown it"}}
	case !inode.IsDir() && inode.Links > 1:
		p = shift.Problems{{Text: path + " has other hard links", Remedy: "copy it"}}
	case inode.HasSetID() || len(caps) > 0:
		p = shift.Problems{{Text: path + " has set-id bits or capabilities",
			Remedy: "mount its directory"}}
	}
	if len(p) > 0 {
		return p
	}
	if isCheck || uid == inode.UID && gid == inode.GID {
		return nil
	}
	return file.Chown(uid, gid)
}

// shiftVolumes shifts the volumes of a container that a hook has found. A hook runs too late for
// idmapped mounts, or before the container has an id.
func (h *Hook) shiftVolumes(
	ctx context.Context, c *oci.Config, pair idmap.Pair, bundle, id string,
) error {
	m := &mounts{r: h.Remapper, config: c, pair: pair}
	defer m.close()
	modes, err := h.volumeModes(c)
	if err != nil {
		return err
	}
	if err := m.find(bundle, id, modes); err != nil {
		return err
	}
	if len(m.toMap) > 0 {
		return fmt.Errorf("volume %s: idmap does not work in a hook; use the runtime wrapper, or shift",
			m.toMap[0].mount.Destination)
	}
	if err := m.check(ctx, nil); err != nil {
		return err
	}
	return m.mountVolumes(ctx, id)
}
