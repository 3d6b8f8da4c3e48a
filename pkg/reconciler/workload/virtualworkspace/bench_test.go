package virtualworkspace

import (
	"bytes"
	"strings"
	"testing"
)

// What showing one object of 3 KiB takes, of which a third is managed fields.
func BenchmarkView(b *testing.B) {
	raw := []byte(`{"apiVersion":"v1","data":{"a":"` + strings.Repeat("value ", 330) + `"},"kind":"ConfigMap","metadata":{"annotations":{"kcp.io/cluster":"2m18o01wb822k71e"},"creationTimestamp":"2026-11-25T18:16:01Z","labels":{"` +
		me.stateLabel() + `":"Sync","app":"web"},"managedFields":[{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{` + strings.Repeat(`"f:data":{".":{}},`, 55) + `"x":{}},"manager":"kubectl"}],"name":"x","namespace":"web","resourceVersion":"981","uid":"3c72ae06-ac5a-489d-a4f3-5ef3b0161d09"}}`)
	var out bytes.Buffer
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		x, err := me.take(raw)
		if err != nil {
			b.Fatal(err)
		}
		if err := x.write(&out, me, whole); err != nil {
			b.Fatal(err)
		}
	}
}
