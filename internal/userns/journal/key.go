package journal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"palisade/internal/linux/sys"
)

// key is the secret key of this host. It seals the records of a tree, so that records which came
// with the files are not trusted: an image cannot know the key.
type key []byte

const (
	keyName = "key"
	keySize = 32
)

// readKey reads the key in the state directory. It returns nil if there is none.
func readKey(stateDir string) (key, error) {
	path := filepath.Join(stateDir, keyName)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 0 || info.Mode() != 0o600 {
		return nil, fmt.Errorf("key %s: mode %v, want a regular file owned by root with mode 0600",
			path, info.Mode())
	}
	k, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err == nil && len(k) != keySize {
		err = fmt.Errorf("key %s: size %d, want %d bytes", path, info.Size(), keySize)
	}
	return k, err
}

// loadOrCreateKey reads the key, and creates one if there is none. Concurrent callers get the same
// key; a process that is killed leaves a complete key or none.
func loadOrCreateKey(stateDir string) (key, error) {
	if k, err := readKey(stateDir); k != nil || err != nil {
		return k, err
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, err
	}
	k := make(key, keySize)
	rand.Read(k) // never fails
	err := sys.CreateFileSynced(filepath.Join(stateDir, keyName), k)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return readKey(stateDir)
}

// macSize is the size of a seal in bytes: as hard to guess as an AES-128 key.
const macSize = 16

// Purposes of a seal. A seal for one purpose is invalid for the others.
const (
	sealState  = "palisade userns-shift state\x00"
	sealRecord = "palisade userns-shift record\x00"
	sealFlags  = "palisade userns-shift flags\x00"
)

func (k key) mac(purpose string, id Identity, text []byte) []byte {
	h := hmac.New(sha256.New, k)
	h.Write([]byte(purpose))
	h.Write([]byte(id)) // identities have a fixed length
	h.Write(text)
	return h.Sum(nil)[:macSize]
}

// seal returns the text followed by a seal that binds it to the file.
func (k key) seal(purpose string, id Identity, text []byte) []byte {
	return append(text[:len(text):len(text)], k.mac(purpose, id, text)...)
}

// open returns the text of sealed, and reports whether its seal is valid for the file.
func (k key) open(purpose string, id Identity, sealed []byte) (text []byte, ok bool) {
	end := len(sealed) - macSize
	if len(k) != keySize || end < 0 {
		return nil, false
	}
	text = sealed[:end:end]
	return text, hmac.Equal(sealed[end:], k.mac(purpose, id, text))
}
