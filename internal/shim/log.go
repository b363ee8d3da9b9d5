package shim

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"
)

// LogError writes an error to the runtime's log, where containerd, and so Docker, looks for the reason when a runtime fails. An
// error of that is of no interest.
func (c *Command) LogError(err error) {
	if c.log == "" {
		return
	}
	f, openErr := os.OpenFile(c.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if openErr != nil {
		return
	}
	defer f.Close()
	if c.logFormat != "json" {
		fmt.Fprintf(f, "level=error msg=%q\n", err.Error())
		return
	}
	logger := slog.New(slog.NewJSONHandler(f, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.LevelKey {
			return slog.String(a.Key, "error") // as logrus, which runtimes use, writes it
		}
		return a
	}}))
	logger.Error(err.Error())
}
