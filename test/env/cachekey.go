package env

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// cacheKey depends on the names and contents of all files below dir, and on inputs in their order.
func cacheKey(dir string, inputs ...string) (string, error) {
	hash := sha256.New()
	for _, input := range inputs {
		fmt.Fprintf(hash, "input %d %s\n", len(input), input)
	}
	// WalkDir goes in lexical order.
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		return hashFile(hash, dir, path)
	})
	if err != nil {
		return "", fmt.Errorf("hashing %s: %w", dir, err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func hashFile(to io.Writer, dir, path string) error {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "file %d %s %d\n", len(name), name, len(content))
	_, err = to.Write(content)
	return err
}
