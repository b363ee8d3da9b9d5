// Package shift changes the owners of all files of a root file system from the ids of a container
// to those of the host, and back. Nothing is lost: neither set-id bits and capabilities, which a
// chown clears, nor access control lists, nor the way back if the process is killed.
//
//   - The translation of an id is a pure, idempotent function (idmap.Translation): the work can be
//     started again at any point.
//   - All files are scanned before the first change. If there is a problem, nothing is changed.
//   - Then the state is recorded, and the root directory is closed to all but the host's root until
//     the change is complete.
//   - What a chown would clear is recorded before it (package journal).
//   - Files are named by open directories (package walk); no symbolic link is followed and no mount
//     is entered.
//
// Reading order, in which each file uses only those before it:
//
//   - progress, options, and plan: the changes of one file; pure
//   - inode: reads what a plan needs, and makes its changes
//   - problems, tree, range, ancestors, checks: what is known before a scan
//   - findings, scan, links, preflight: the first pass, which changes nothing
//   - mover, apply: the second pass
//   - shift, status: the entry points
package shift
