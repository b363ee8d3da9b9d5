package main

import "fmt"

// printFiles prints the content or the error of files, each after a line with its name.
func printFiles(files []string) error {
	buf := make([]byte, 1<<17)
	for _, file := range files {
		text, err := readFile(file, buf)
		if err != nil {
			text = []byte("error: " + err.Error())
		}
		fmt.Printf("=== %s\n%s\n", file, text)
	}
	return nil
}
