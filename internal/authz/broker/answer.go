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

// denied is the answer to a request that is denied. The message is shown to the user.
func denied(message string) []byte {
	text, err := json.Marshal(struct {
		Allow bool
		Msg   string
	}{false, message})
	if err != nil { // strings always can be
		return []byte(`{"Allow":false,"Msg":"denied"}`)
	}
	return text
}

// write answers a request of Docker. Another code than 200 would reach the user as a failure of the engine.
func write(w http.ResponseWriter, text []byte) {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	h["Date"] = nil
	w.Write(text) // who asked is gone if it fails
}

var contentType = []string{pluginType}

// writeCode answers with a code alone: iSulad prints what else there is into its log.
func writeCode(w http.ResponseWriter, code int) {
	w.Header()["Date"] = nil
	w.WriteHeader(code)
}
