"""Where cities lie: 241 of them with latitude and longitude in degrees, for hosts to live in.

Decides names and coordinates (rounded to 0.01°, about a kilometre), and which broad region a place belongs to. The
choice of cities is that of a published set of pings between servers (WonderNetwork, November 2018), so that models
fitted to those round trips have the same distances. Refuses to know latencies.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

from simulations.latency import EARTH_RADIUS_KM

REGIONS = (
    "western North America",
    "eastern North America",
    "South America",
    "Europe",
    "Africa and the Near East",
    "Asia",
    "Oceania",
)
"""The regions of `region_of`, by number."""


class Place(NamedTuple):
    """A city."""

    name: str
    latitude: float
    """Degrees, north positive."""
    longitude: float
    """Degrees, east positive."""


def region_of(latitude: float, longitude: float) -> int:
    """Give the number in `REGIONS` of a place: straight lines on the map, meant for weights, not for politics."""
    if longitude < -30:
        return (0 if longitude < -100 else 1) if latitude > 15 else 2
    if longitude < 45 and latitude > 35:
        return 3
    if longitude < 60:
        return 4
    return 6 if latitude < -10 else 5


@cache
def cities() -> tuple[Place, ...]:
    """Every city, in alphabetical order; always the same."""
    found = []
    for entry in _CITIES.replace("\n", " ").split(";"):
        name, latitude, longitude = entry.strip().rsplit(" ", 2)
        found.append(Place(name, float(latitude), float(longitude)))
    return tuple(found)


@cache
def city_by_name() -> dict[str, Place]:
    """The cities by name."""
    return {place.name: place for place in cities()}


def arc_km(a: Place, b: Place) -> float:
    """Kilometres from one place to another, along the surface."""
    phi, psi = math.radians(a.latitude), math.radians(b.latitude)
    turn = math.radians(b.longitude - a.longitude)
    cosine = math.sin(phi) * math.sin(psi) + math.cos(phi) * math.cos(psi) * math.cos(turn)
    return EARTH_RADIUS_KM * math.acos(max(-1.0, min(1.0, cosine)))


@cache
def arcs_km() -> tuple[tuple[float, ...], ...]:
    """Kilometres between every two cities, row and column as in `cities`."""
    places = cities()
    rows = [[0.0] * len(places) for _ in places]
    for i, here in enumerate(places):
        for j in range(i):
            rows[i][j] = rows[j][i] = arc_km(here, places[j])
    return tuple(map(tuple, rows))


_CITIES = """
Adelaide -34.93 138.60; Albany 42.65 -73.76; Alblasserdam 51.87 4.66; Albuquerque 35.08 -106.65;
Algiers 36.73 3.09; Amsterdam 52.37 4.89; Anchorage 61.22 -149.90; Ankara 39.92 32.85; Antwerp 51.22 4.40;
Arezzo 43.46 11.88; Asheville 35.60 -82.55; Athens 37.98 23.73; Atlanta 33.75 -84.39; Auckland -36.85 174.76;
Austin 30.27 -97.74; Baltimore 39.29 -76.61; Bangalore 12.97 77.59; Bangkok 13.75 100.50; Barcelona 41.39 2.16;
Basel 47.56 7.57; Belfast 54.60 -5.93; Bergen 60.39 5.32; Berkeley Springs 39.49 -78.10; Bern 46.95 7.45;
Bogota 4.61 -74.08; Boston 42.36 -71.06; Brasilia -10.00 -55.00; Bratislava 48.15 17.11; Brisbane -27.47 153.03;
Bristol 51.46 -2.60; Brno 49.20 16.61; Bruges 51.21 3.22; Brunswick 45.95 -66.67; Brussels 50.85 4.35;
Bucharest 44.43 26.11; Budapest 47.50 19.04; Buenos Aires -34.61 -58.38; Buffalo 42.89 -78.88; Bursa 40.20 29.06;
Cairo 30.06 31.25; Calgary 51.05 -114.09; Canberra -35.28 149.13; Cape Town -33.93 18.42; Caracas 10.49 -66.88;
Cardiff 51.48 -3.18; Charlotte 18.34 -64.93; Cheltenham 51.90 -2.08; Chennai 13.09 80.28; Chicago 41.85 -87.65;
Chisinau 47.01 28.86; Christchurch -43.53 172.63; Cincinnati 39.13 -84.51; Cleveland 41.50 -81.70;
Colorado Springs 38.83 -104.82; Columbus 39.96 -83.00; Copenhagen 55.68 12.57; Coventry 52.41 -1.51;
Cromwell -45.05 169.23; Dagupan 16.04 120.33; Dallas 32.78 -96.81; Dar es Salaam -6.82 39.27; Denver 39.74 -104.98;
Des Moines 41.60 -93.61; Detroit 42.33 -83.05; Dhaka 23.71 90.41; Dronten 52.52 5.72; Dubai 25.07 55.17;
Dublin 53.33 -6.25; Dusseldorf 51.22 6.78; Edinburgh 55.95 -3.20; Eindhoven 51.44 5.48; Falkenstein 50.48 12.37;
Fez 34.03 -5.00; Frankfurt 50.12 8.68; Fremont 43.04 -108.63; Frosinone 41.64 13.34; Gdansk 54.35 18.65;
Geneva 46.20 6.15; Gothenburg 57.71 11.97; Green Bay 44.52 -88.02; Groningen 53.22 6.57; Halifax 53.72 -1.85;
Hamburg 53.58 10.02; Hangzhou 30.29 120.16; Hanoi 21.02 105.84; Helsinki 60.17 24.94; Heredia 9.99 -84.13;
Ho Chi Minh City 10.82 106.63; Hong Kong 22.28 114.17; Honolulu 21.31 -157.86; Houston 29.76 -95.36;
Hyderabad 17.38 78.46; Indianapolis 39.77 -86.16; Indore 22.72 75.83; Istanbul 41.01 28.95; Izmir 38.41 27.14;
Jackson 32.30 -90.18; Jacksonville 30.33 -81.66; Jakarta -6.21 106.85; Jerusalem 31.78 35.22;
Joao Pessoa -7.12 -34.86; Johannesburg -26.20 28.04; Kampala 0.32 32.58; Kansas City 39.10 -94.58;
Karaganda 49.80 73.10; Kiev 50.45 30.52; Knoxville 35.96 -83.92; Koto 35.67 139.82; Ktis 48.92 14.14;
La Ceiba 15.76 -86.78; Lagos 6.45 3.39; Lahore 31.56 74.35; Las Vegas 36.17 -115.14; Lausanne 46.52 6.63;
Liege 50.63 5.57; Lima -12.04 -77.03; Limassol 34.68 33.04; Lincoln 40.80 -96.67; Lisbon 38.72 -9.13;
Ljubljana 46.05 14.51; London 51.51 -0.13; Los Angeles 34.05 -118.24; Louisville 38.25 -85.76; Lugano 46.01 8.96;
Luxembourg 49.75 6.17; Lyon 45.75 4.85; Madrid 40.42 -3.70; Maidstone 18.10 -77.57; Malaysia 2.50 112.50;
Manchester 53.45 -2.23; Manhattan 40.78 -73.97; Manila 14.60 120.98; Marseille 43.30 5.38; Medellin 6.25 -75.56;
Melbourne -37.81 144.96; Memphis 35.15 -90.05; Mexico 23.00 -102.00; Miami 25.77 -80.19; Milan 45.46 9.19;
Milwaukee 43.04 -87.91; Minneapolis 44.98 -93.26; Missoula 46.87 -113.99; Montevideo -34.90 -56.19;
Monticello 45.36 8.57; Montreal 45.51 -73.59; Moscow 55.75 37.62; Munich 48.14 11.58; Nairobi -1.28 36.82;
New Delhi 28.65 77.23; New Orleans 29.95 -90.08; New York 40.71 -74.01; Newcastle 54.97 -1.61; Nis 43.32 21.90;
Novosibirsk 55.04 82.93; Nuremberg 49.45 11.08; Oklahoma City 35.47 -97.52; Orlando 28.54 -81.38;
Osaka 34.69 135.50; Oslo 59.91 10.75; Ottawa 45.41 -75.70; Palermo 38.13 13.34; Panama 9.00 -80.00;
Paramaribo 5.87 -55.17; Paris 48.85 2.35; Perth -31.95 115.86; Philadelphia 39.95 -75.16; Phnom Penh 11.56 104.92;
Phoenix 33.45 -112.07; Piscataway 40.50 -74.40; Pittsburgh 40.44 -80.00; Portland 18.13 -76.53; Prague 50.09 14.42;
Pune 18.52 73.86; Quebec City 46.81 -71.21; Quito -0.23 -78.52; Raleigh 35.77 -78.64; Redding 40.59 -122.39;
Reykjavik 64.14 -21.90; Richmond 37.55 -77.46; Riga 56.95 24.11; Riyadh 24.69 46.72; Rome 41.89 12.51;
Roseburg 43.22 -123.34; Rotterdam 51.92 4.48; Roubaix 50.69 3.17; Sacramento 38.58 -121.49; Salem 44.94 -123.04;
Salt Lake City 40.76 -111.89; San Antonio 29.42 -98.49; San Diego 32.72 -117.16; San Francisco 37.77 -122.42;
San Jose 9.93 -84.08; San Juan 18.47 -66.11; Santiago -33.46 -70.65; Sao Paulo -23.55 -46.64; Sapporo 43.07 141.35;
Saskatoon 52.13 -106.67; Savannah 32.08 -81.10; Scranton 41.41 -75.66; Seattle 47.61 -122.33;
Secaucus 40.79 -74.06; Seoul 37.57 126.98; Shanghai 31.22 121.46; Shenzhen 22.55 114.07; Singapore 1.29 103.85;
Sofia 42.70 23.32; South Bend 41.68 -86.25; St Louis 16.02 -16.49; St Petersburg 59.94 30.31;
Stamford 41.05 -73.54; Stockholm 59.33 18.06; Strasbourg 48.58 7.75; Sydney -33.87 151.21; Syracuse 43.05 -76.15;
Taipei 25.05 121.53; Tallinn 59.44 24.75; Tampa 27.95 -82.46; Tbilisi 41.69 44.83; Tel Aviv 32.08 34.78;
Tempe 33.41 -111.91; The Hague 52.08 4.30; Thessaloniki 40.64 22.93; Tirana 41.33 19.82; Tokyo 35.69 139.69;
Toledo 39.86 -4.02; Toronto 43.70 -79.42; Tunis 36.82 10.17; Valencia 39.47 -0.38; Valletta 35.90 14.51;
Vancouver 49.25 -123.12; Varna 43.22 27.92; Venice 45.44 12.33; Vienna 48.21 16.37; Vilnius 54.69 25.28;
Vladivostok 43.11 131.87; Warsaw 52.23 21.01; Washington 38.90 -77.04; Wellington -41.29 174.78;
Winnipeg 49.88 -97.15; Zhangjiakou 40.81 114.88; Zurich 47.37 8.55
"""
