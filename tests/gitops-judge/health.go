package main

import (
	"context"
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Argo CD gives a script a second; a busy machine may need more.
const scriptDeadline = 30 * time.Second

// runScript runs a health script as Argo CD does. A script from argocd-cm gets
// no library but the base and tables, one that is built in gets them all.
func runScript(script string, object map[string]any, openLibraries bool) (Judgement, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: !openLibraries})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		call := lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return Judgement{}, err
		}
	}
	deadline, cancel := context.WithTimeout(context.Background(), scriptDeadline)
	defer cancel()
	state.SetContext(deadline)
	state.SetGlobal("obj", luaValue(state, object))
	if err := state.DoString(script); err != nil {
		return Judgement{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return Judgement{}, fmt.Errorf("the script returns no table but %s", state.Get(-1).Type())
	}
	return judgement(table)
}

func judgement(table *lua.LTable) (Judgement, error) {
	var found Judgement
	var err error
	table.ForEach(func(key, value lua.LValue) {
		text, isText := value.(lua.LString)
		switch name := key.String(); {
		case isText && name == "status":
			found.Status = string(text)
		case isText && name == "message":
			found.Message = string(text)
		default:
			err = fmt.Errorf("the script returns %s = %v, which Argo CD does not know", name, value)
		}
	})
	switch found.Status {
	case "Healthy", "Progressing", "Degraded", "Suspended":
	default:
		err = fmt.Errorf("the script returns the status %q", found.Status)
	}
	return found, err
}

func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	case int64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		list := state.CreateTable(len(value), 0)
		for _, item := range value {
			list.Append(luaValue(state, item))
		}
		return list
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
