package broker

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"palisade/internal/authz/strictjson"
)

// request is the body of AuthZReq (moby, pkg/authorization/api.go). Each field may be missing.
type request struct {
	User, UserAuthNMethod, RequestMethod strictjson.Once[string]

	RequestURI strictjson.Once[string] `json:"RequestUri"`
	// RequestBody is a string in base64.
	RequestBody strictjson.Once[json.RawMessage]
	// Certificates are strings in base64, of PEM.
	Certificates strictjson.Once[[]json.RawMessage] `json:"RequestPeerCertificates"`
}

func decodeRequest(text []byte) (*request, error) {
	if len(text) == 0 {
		return nil, errors.New("the engine sent an empty request, as it does in a retry after an error")
	}
	r := new(request)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("parse the engine's request: %w", err)
	}
	if r.RequestMethod.Value == "" || r.RequestURI.Value == "" {
		return nil, errors.New("parse the engine's request: RequestMethod or RequestUri is missing")
	}
	return r, nil
}

// body returns the body of the user's request, or nil if the engine did not pass it on.
func (r *request) body() ([]byte, error) {
	if !r.RequestBody.IsSet {
		return nil, nil
	}
	var text string
	if err := json.Unmarshal(r.RequestBody.Value, &text); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(text)
}
