// Package agentstatus has the state of palisade-nri, which it leaves in a file for other programs of
// the host.
package agentstatus

import (
	"encoding/json"

	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
)

// Path is the file, which exists while palisade-nri runs, and after it was killed.
const Path = "/run/palisade-nri.json"

// Status is the content of the file.
type Status struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	// Runtimes has for each socket of NRI whether the container runtime is connected.
	Runtimes map[string]bool `json:"runtimes"`
	Lxcfs    probe.State     `json:"lxcfs"`
	// Served are the ids of running containers that get the files, sorted.
	Served []string `json:"served,omitempty"`
	// Failure is why lxcfs is not installed.
	Failure string `json:"install_failure,omitempty"`
}

// Write replaces the file.
func (s *Status) Write(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return sys.ReplaceFile(path, text, nil)
}
