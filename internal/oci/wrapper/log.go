package wrapper

import (
	"fmt"
	"log/slog"
	"strings"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/linelog"
)

// maxLogged is the maximum length of an error in the log, in bytes.
const maxLogged = 16 << 10

// LogError writes an error to the runtime's log, where containerd, and so Docker, looks for the
// reason when a runtime fails. If the log is not a regular file, or hangs, it writes nothing.
func (c *Command) LogError(err error) {
	if c.log == "" {
		return
	}
	f, openErr := linelog.Open(c.log, 0o600)
	if openErr != nil {
		return
	}
	defer f.Close()
	text := err.Error()
	if len(text) > maxLogged {
		text = strings.ToValidUTF8(text[:maxLogged], "") + "..."
	}
	if c.logFormat != "json" {
		fmt.Fprintf(f, "level=error msg=%q\n", text)
		return
	}
	options := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.LevelKey {
			return slog.String(a.Key, "error") // as logrus, which runtimes use, writes it
		}
		return a
	}}
	logger := slog.New(slog.NewJSONHandler(cmdline.SafeJSONWriter(f), options))
	logger.Error(text)
}
