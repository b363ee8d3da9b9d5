package lxcfs

import (
	"encoding/json"
	"os"

	"palisade/internal/cli/version"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
)

// status appends what the server tells of itself to those who look after it.
func (f *FS) status(dst []byte) ([]byte, error) {
	text, err := json.Marshal(probe.Status{
		PID: os.Getppid(), Worker: os.Getpid(), Version: version.String(), Uptime: (sys.SinceBoot() - f.started).Seconds(),
		Containers: f.finder.Len(), IsOff: f.off.Load(),
	})
	return append(append(dst, text...), '\n'), err
}

// renderNothing is the text of a file that is none of a container's business.
func renderNothing(_ *reader, dst []byte) ([]byte, error) { return dst, nil }
