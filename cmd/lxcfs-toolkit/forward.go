package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"palisade/internal/oci"
)

// forwardCommand returns a command of earlier versions, which is now one of palisade's.
func forwardCommand(g *globals, name string) *cli.Command {
	return &cli.Command{
		Name:      name,
		Usage:     "run palisade " + name + ", of the package palisade-tools",
		ArgsUsage: " ",
		Action: func(ctx *cli.Context) error {
			program, err := findPalisade()
			if err != nil {
				return err
			}
			args := slices.Concat([]string{"palisade"}, g.given)
			if g.JSON {
				args = append(args, "--json")
			}
			args = slices.Concat(args, []string{name}, ctx.Args().Slice())
			return os.NewSyscallError("execve "+program, syscall.Exec(program, args, os.Environ()))
		},
	}
}

// findPalisade returns the path of palisade: beside this program, or else in PATH. It
// accepts only a program that no user but root and the caller can write.
func findPalisade() (string, error) {
	var programs []string
	if self, err := os.Executable(); err == nil {
		programs = append(programs, filepath.Join(filepath.Dir(self), "palisade"))
	}
	if program, err := exec.LookPath("palisade"); err == nil {
		programs = append(programs, program)
	}
	for _, program := range programs {
		if oci.CheckProgram(program, 0) == nil ||
			oci.CheckProgram(program, uint32(os.Geteuid())) == nil {
			return program, nil
		}
	}
	return "", errors.New("the program palisade is missing: install the package palisade-tools")
}
