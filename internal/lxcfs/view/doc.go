// Package view formats the files that a container reads from the container's values and the host's
// files. Its functions append to dst and return it. They have no state, read no files, and do not
// allocate if dst has room.
//
// The host's file, parsed by package procfs, is the template: lines keep their order, and lines
// whose values do not differ in a container are copied.
package view
