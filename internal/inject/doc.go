// Package inject is the directory of the packages that mount lxcfs's files in containers.
//
// Reading order: mounts mounts and unmounts lxcfs in a mount namespace; probe checks whether an
// lxcfs answers; engine lists running containers; toolkit is the hook, remount, umount, list and
// bind of lxcfs-toolkit.
//
// These packages import packages of linux, cli and oci. lxcfs itself imports mounts and probe, for
// the mounts that it removes when it stops.
package inject
