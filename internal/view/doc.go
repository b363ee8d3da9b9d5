// Package view writes the texts that a container reads: figures go in, text comes out. Each file has a source file of
// its own. Nothing here reads a file or keeps anything; a function appends to dst, returns it, and allocates nothing if
// dst has room.
//
// The host's text, parsed by package procfs, is the skeleton: its lines stay in their order, and those that a container
// has no value of its own for stay as they are.
package view
