# Standard is the smallest tier that speaks Kafka's protocol (port 9093).
resource "azurerm_eventhub_namespace" "this" {
  name                          = "${local.unique}-events"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = azurerm_resource_group.this.location
  sku                           = "Standard"
  capacity                      = 1
  auto_inflate_enabled          = true
  maximum_throughput_units      = 4
  minimum_tls_version           = "1.2"
  local_authentication_enabled  = false
  public_network_access_enabled = true
  tags                          = local.tags
}

resource "azurerm_eventhub" "weather" {
  name            = "weather"
  namespace_id    = azurerm_eventhub_namespace.this.id
  partition_count = 4

  retention_description {
    cleanup_policy          = "Delete"
    retention_time_in_hours = var.event_retention_hours
  }
}

# Landing reads by offsets that it stores with the interval; the group keeps it apart from everybody else.
resource "azurerm_eventhub_consumer_group" "landing" {
  name                = "my-feast"
  namespace_name      = azurerm_eventhub_namespace.this.name
  eventhub_name       = azurerm_eventhub.weather.name
  resource_group_name = azurerm_resource_group.this.name
}
