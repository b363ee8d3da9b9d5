package broker

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"palisade/internal/authz/strictjson"
)

// request is what Docker asks about: the body of AuthZReq (moby, pkg/authorization/api.go). Each field may be absent. What is
// not needed of a field is left as it came.
type request struct {
	User            strictjson.Once[string]
	UserAuthNMethod strictjson.Once[string]
	RequestMethod   strictjson.Once[string]
	RequestURI      strictjson.Once[string]            `json:"RequestUri"`
	RequestBody     strictjson.Once[json.RawMessage]   // base64
	Certificates    strictjson.Once[[]json.RawMessage] `json:"RequestPeerCertificates"` // base64 of PEM
}

func decodeRequest(text []byte) (*request, error) {
	if len(text) == 0 {
		return nil, errors.New("the engine sent nothing, as it does when it asks again after an error")
	}
	r := new(request)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("what the engine sent is not clear: %w", err)
	}
	if r.RequestMethod.Value == "" || r.RequestURI.Value == "" {
		return nil, errors.New("what the engine sent has no method or no target")
	}
	return r, nil
}

// body is the body of the request that Docker asks about; nil if it did not arrive.
func (r *request) body() ([]byte, error) {
	var text string
	if !r.RequestBody.IsSet {
		return nil, nil
	}
	if err := json.Unmarshal(r.RequestBody.Value, &text); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(text)
}
