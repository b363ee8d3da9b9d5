package broker

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// pluginType is the media type of Docker's plug-in protocol.
const pluginType = "application/vnd.docker.plugins.v1.2+json"

var (
	activated = []byte(`{"Implements":["authz"]}`)
	allowed   = []byte(`{"Allow":true}`)
)

// denied returns the answer that denies a request and shows the message to the user.
func denied(message string) []byte {
	text, _ := json.Marshal(struct { // strings can always be marshalled
		Allow bool
		Msg   string
	}{false, message})
	return text
}

// write answers a request of Docker with 200. Another code would look like a failure of the engine.
func write(w http.ResponseWriter, text []byte) {
	h := w.Header()
	h.Set("Content-Type", pluginType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h["Date"] = nil
	w.Write(text) // fails if the engine has closed the connection
}

// writeCode answers with an empty body, because iSulad would print a body into its log.
func writeCode(w http.ResponseWriter, code int) {
	w.Header()["Date"] = nil
	w.WriteHeader(code)
}
