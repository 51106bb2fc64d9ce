-- Healthy: the cloud has the resource as specified. Progressing: in progress, or waiting.
-- Degraded: requires user action. Suspended: paused by annotation.
local conditions = {}
if obj.status ~= nil then
  for _, condition in ipairs(obj.status.conditions or {}) do
    conditions[condition.type] = condition
  end
end

local function holds(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

local function health(status, message)
  return { status = status, message = message }
end

if holds("Paused") then
  return health("Suspended", conditions.Paused.message)
end

local ready = conditions.Ready
if ready == nil or ready.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not seen generation " .. obj.metadata.generation .. " yet")
end
if holds("Stalled") then
  return health("Degraded", ready.message)
end
if ready.status ~= "True" then
  return health("Progressing", ready.message)
end
return health("Healthy", ready.message)
