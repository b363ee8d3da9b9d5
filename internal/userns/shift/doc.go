// Package shift changes the owners of all files of a root file system from the ids of a container to those that they are on
// the host, and back, so that nothing is lost: neither set-id bits and capabilities, which every chown takes away, nor access
// control lists, nor the way back when it is killed.
//
// How that is made sure of:
//   - What becomes of an id is a pure, idempotent function (idmap.Translation): the work can be begun again at any time.
//   - Before the first change all is looked at; if anything stands in the way, nothing is changed.
//   - Then the state is recorded at the root directory, which is closed to all but the host's root until all is done.
//   - Before a chown would take something from a file, that is recorded at the file (record.go).
//   - Files are named by directories that are open; no symbolic link is followed, no mount entered.
package shift
