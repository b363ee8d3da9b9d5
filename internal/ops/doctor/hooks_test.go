package doctor

import "testing"

// TestScripts has scripts that call the wrapper, and others.
func TestScripts(t *testing.T) {
	for script, want := range map[string]bool{
		"#!/bin/sh\nexec userns-shift runtime --runtime lxcfs-runc -- \"$@\"\n": true,
		"#!/bin/sh\nexec \"/usr/bin/lxcfs-runc\" \"$@\"":                        true,
		"#!/bin/sh\nlxcfs-toolkit --log /l runtime --runtime runc -- $*\n":      true,
		"#!/bin/sh\nlxcfs-toolkit remount --all\nexec runc \"$@\"\n":            false,
		"#!/bin/sh\nexec runc \"$@\" # not lxcfs-runc\n":                        false,
		"#!/bin/sh\n# lxcfs-toolkit runtime\n":                                  false,
		"#!/usr/bin/lxcfs-toolkit runtime":                                      false,
		"":                                                                      false,
	} {
		if got := callsRuntime([]byte(script)); got != want {
			t.Errorf("%q: got %v, want %v", script, got, want)
		}
	}
}

// TestConditions has files of hooks directories, and for which containers their hooks are called.
func TestConditions(t *testing.T) {
	for text, want := range map[string]reach{
		`{"hook":{"path":"/x"},"when":{"always":true}}`:                          all,
		`{"hook":{"path":"/x"},"when":{"always":true,"commands":["sh"]}}`:        some,
		`{"hook":{"path":"/x"},"when":{"always":false,"commands":["sh"]}}`:       never,
		`{"hook":{"path":"/x"},"when":{"commands":[".*"]}}`:                      all,
		`{"hook":{"path":"/x"},"when":{"commands":[".*"],"hasBindMounts":true}}`: some,
		`{"hook":{"path":"/x"},"when":{"annotations":{"a":"b"}}}`:                some,
		`{"hook":{"path":"/x"},"when":{"hasBindMounts":false}}`:                  some,
		`{"hook":{"path":"/x"},"when":{}}`:                                       never,
		`{"hook":{"path":"/x"}}`:                                                 never,
		`{"hook":"/x","cmd":[".*"]}`:                                             all,
		`{"hook":"/x","cmds":["sh"],"hasbindmounts":true}`:                       some,
		`{"hook":"/x","annotation":["sh"]}`:                                      some,
		`{"hook":"/x","stage":["prestart"]}`:                                     never,
	} {
		if f, err := parseHookFile([]byte(text)); err != nil || f.reach != want {
			t.Errorf("%s: got %d, %v, want %d", text, f.reach, err, want)
		}
	}
}
